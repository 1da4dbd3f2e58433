//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// The options of a token bucket filter, from linux/pkt_sched.h: a struct tc_tbf_qopt, which is two struct tc_ratespec,
// then limit, buffer and mtu in 32 bits each. Burst and a large rate are attributes of their own.
const (
	tbfSize      = 36
	tbfLinkLayer = 1  // linklayer of the first tc_ratespec
	tbfRate      = 8  // rate of the first tc_ratespec, bytes a second
	tbfLimit     = 24 // bytes that may wait
)

const (
	// ethernet is TC_LINKLAYER_ETHERNET. Without it the kernel guesses from a table that nobody sends any more.
	ethernet = 1
	// root is TC_H_ROOT.
	root = math.MaxUint32
)

// frameHeader is what a frame has beyond the MTU: an Ethernet header and a VLAN tag.
const frameHeader = 18

// queueParts is a second divided by how long the last byte of a full queue waits: 50 ms, as ping users bear and a slow
// start needs.
const queueParts = 20

// setRate puts a token bucket filter in front of a link. To do it again does no harm: another one takes its place.
func (k *Kernel) setRate(s plan.SetRate) error {
	c, index, mtu, err := k.rated(s)
	if err != nil {
		return err
	}
	err = c.change(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, rateParts(index, mtu, s.Rate)...)
	if errors.Is(err, unix.ENOENT) {
		return &Error{
			Op: "limit what leaves by link " + s.If, Cause: "the kernel lacks the queue tbf or its module", Err: err,
			hint: "see whether the module can be loaded: modprobe sch_tbf; or take the rate out of the policy",
		}
	}
	return failed(err, "limit what leaves by link %s", s.If)
}

// rated finds the link that a rate is for, and the socket of its namespace.
func (k *Kernel) rated(s plan.SetRate) (c *conn, index, mtu int, err error) {
	c = k.host.conn
	if s.Side == plan.Container {
		ns, nsErr := k.namespace()
		if nsErr != nil {
			return nil, 0, 0, nsErr
		}
		c = ns.conn
	}
	link, ok, err := c.link(by{name: s.If})
	if err != nil {
		return nil, 0, 0, err
	}
	if !ok {
		return nil, 0, 0, failed(unix.ENODEV, "look up link %s", s.If)
	}
	return c, link.Index, link.MTU, nil
}

// rateParts is a message that puts a token bucket filter at the root of a link's queues (net/sched/sch_tbf.c). A segment
// that is longer than the burst is cut into frames first, so a burst of one frame is the least that works.
func rateParts(index, mtu int, r policy.Rate) []nl.NetlinkRequestData {
	rate := max(r.Bits/8, 1)
	burst := max(r.Burst, uint64(mtu)+frameHeader) //nolint:gosec // G115: an MTU is 31 bits
	parameters := make([]byte, tbfSize)
	parameters[tbfLinkLayer] = ethernet
	binary.NativeEndian.PutUint32(parameters[tbfRate:], clamp(rate))
	binary.NativeEndian.PutUint32(parameters[tbfLimit:], clamp(rate/queueParts+burst))
	options := nl.NewRtAttr(unix.NLA_F_NESTED|nl.TCA_OPTIONS, nil)
	if rate > math.MaxUint32 {
		options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(rate))
	}
	options.AddRtAttr(nl.TCA_TBF_PARMS, parameters)
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(clamp(burst)))
	header := &nl.TcMsg{
		Family:  unix.AF_UNSPEC,
		Ifindex: int32(index), //nolint:gosec // G115: an index is 31 bits
		Parent:  root,
	}
	return []nl.NetlinkRequestData{header, text(nl.TCA_KIND, "tbf"), options}
}

// clamp is v, or the most that 32 bits hold.
func clamp(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }
