//go:build linux

package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// beforeNetdev is before what the container itself may do with its frames.
const beforeNetdev = -300

// Guard makes the table of a container's own link anew, in one transaction; c was dialled in the container's namespace.
// Without an egress hook in the kernel, a guard against foreign addresses is an [Error] that says so.
//
// The table does not hold against processes with CAP_NET_ADMIN in the container's network namespace, which may remove it, nor
// does its spoof check against those with CAP_NET_RAW on a kernel with CONFIG_XDP_SOCKETS: what an AF_XDP socket sends passes
// no hook and no queue (net/xdp/xsk.c, xsk_generic_xmit). The table bridge, on the host, holds against both.
func (c *Conn) Guard(s plan.AddGuard) error {
	t, elements, err := guardTable(s)
	if err != nil {
		return err
	}
	err = c.makeGuard(t, elements, false)
	if errors.Is(err, unix.EEXIST) {
		// Only when a step is done again: a transaction that takes a table away first waits for the kernel, some milliseconds.
		err = c.makeGuard(t, elements, true)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return unguarded(s, err)
	}
	return err
}

func (c *Conn) makeGuard(t table, elements map[string][]nftables.SetElement, again bool) error {
	return c.commit("guard a link by table "+t.name, func(b *batch) {
		if again {
			b.table(t)
			b.nft.DelTable(t.ref())
		}
		b.nft.CreateTable(t.ref())
		for _, own := range t.sets {
			b.note(b.nft.AddSet(t.setRef(own), elements[own.name]))
		}
		for _, made := range t.chains {
			b.nft.AddChain(t.chainRef(made))
		}
		for _, made := range t.chains {
			b.rules(t, made)
		}
	})
}

// unguarded says what a kernel lacks that knows no such table or no such hook.
func unguarded(s plan.AddGuard, err error) error {
	what := "nftables' family netdev (CONFIG_NF_TABLES_NETDEV)"
	if s.Spoof {
		what = "nftables' egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS)"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		err = e.Err
	}
	return &Error{
		Op: fmt.Sprintf("guard link %s: the kernel has no %s", s.If, what), Err: err,
		hint: "set spoof-check = false and no rate towards containers in the policy for this network, or use a newer kernel",
	}
}

// Unguard removes the table that Guard made, and succeeds when it is not there.
func (c *Conn) Unguard(s plan.DelGuard) error {
	t := table{family: nftables.TableFamilyNetdev, name: s.Table}
	err := c.commit("remove guard "+s.Table, func(b *batch) {
		b.table(t)
		b.nft.DelTable(t.ref())
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // A kernel that knows no such tables has none.
	}
	return err
}

// guardTable is the table of one link in a container, and what is in its sets.
func guardTable(s plan.AddGuard) (table, map[string][]nftables.SetElement, error) {
	t := table{family: nftables.TableFamilyNetdev, name: s.Table}
	if s.Table == "" || s.If == "" || len(s.If) >= nameSize {
		return t, nil, fmt.Errorf("guard link %q by table %q: it needs the names of both", s.If, s.Table)
	}
	at := func(hooked *nftables.ChainHook) *hook {
		return &hook{kind: nftables.ChainTypeFilter, at: *hooked, priority: beforeNetdev, device: s.If}
	}
	elements := map[string][]nftables.SetElement{}
	if s.Spoof {
		if len(s.MAC) != 6 {
			return t, nil, fmt.Errorf("guard link %s: %q is no MAC address", s.If, s.MAC)
		}
		list := func(one nftables.SetDatatype) []nftables.SetDatatype { return []nftables.SetDatatype{one} }
		t.sets = []set{
			{name: setMACs, key: list(nftables.TypeEtherAddr)},
			{name: ipv4().set(setSource), key: list(nftables.TypeIPAddr)},
			{name: ipv6().set(setSource), key: list(nftables.TypeIP6Addr)},
		}
		elements[setMACs] = []nftables.SetElement{{Key: s.MAC}}
		unique := s.MAC
		if s.SharedMAC {
			unique = nil
		}
		for _, a := range sources(unique, s.Addresses) {
			elements[familySet(a)] = append(elements[familySet(a)], nftables.SetElement{Key: address(a)})
		}
		t.chains = append(guard{free: len(s.Addresses) == 0}.chains(),
			chain{name: "egress", hook: at(nftables.ChainHookEgress), rules: []rule{say(jump(chainGuard))}})
	}
	if s.In.Bits > 0 {
		t.chains = append(t.chains, chain{name: "ingress", hook: at(nftables.ChainHookIngress), rules: []rule{above(s.In.Bits, s.In.Burst)}})
	}
	return t, elements, nil
}
