//go:build linux

package kernel

import (
	"errors"
	"net/netip"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// ProbeRules makes rules of every kind that networks may have, in a network namespace of its own that ends with it, and
// gives the kernel's answer, nil when it can. No rule of the host is looked at; the kernel may load modules.
func ProbeRules() error {
	return alone(func() error {
		c, err := firewall.Dial()
		if err != nil {
			return err
		}
		return errors.Join(c.Renew([]plan.AddRules{everything()}), c.Close())
	})
}

// everything are rules that leave nothing out. The addresses are those for documentation (RFC 5737, RFC 3849).
func everything() plan.AddRules {
	host4, host6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	own4, own6 := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:1::2")
	own := []netip.Addr{own4, own6}
	of := func(bridge, port string, gate plan.Gate) plan.Rules {
		return plan.Rules{Bridge: bridge, Port: port, Gate: gate, ICC: true, Addresses: own, MAC: plan.MAC{2, 0, 0, 0, 0, 1}}
	}
	nat, routed, shut := of("lh-nat", "lhprobea", plan.NAT), of("lh-routed", "lhprobeb", plan.Routed), of("lh-shut", "lhprobec", plan.Closed)
	nat.Masquerade, nat.Spoof, nat.Out = own, true, policy.Rate{Bits: 1e6, Burst: 1 << 16}
	nat.DNAT = []plan.Translation{{From: host4, To: own4}, {From: host6, To: own6}}
	routed.SNAT = []plan.Translation{{From: own4, To: host4}, {From: own6, To: host6}}
	for _, p := range []request.Protocol{request.TCP, request.UDP, request.SCTP} {
		routed.Publish = append(routed.Publish,
			plan.Publish{Protocol: p, Addr: host4, Host: 80, Count: 2, To: netip.AddrPortFrom(own4, 8080)},
			plan.Publish{Protocol: p, Addr: netip.IPv6Unspecified(), Host: 80, Count: 1, To: netip.AddrPortFrom(own6, 8080)})
	}
	return plan.AddRules{Record: "probe", Of: []plan.Rules{nat, routed, shut}}
}
