//go:build linux

package firewall

import (
	"math"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Names of the bridge table's sets, beside those of the guard.
const (
	setGuarded = "guarded"
	setRates   = "rates"
	// setSource has a family's number behind it.
	setSource = "source"
)

// beforeBridge is before everything that others do with frames: connection tracking (-200), and the IP rules for bridges
// (br_netfilter, 0).
const beforeBridge = -300

// bridgeTable is where frames go through that a port of a bridge receives. Each port's name is its container's alone, so
// nothing is said here of bridges.
func bridgeTable() table {
	name, verdict := nftables.TypeIFName, nftables.TypeVerdict
	list := func(types ...nftables.SetDatatype) []nftables.SetDatatype { return types }
	return table{
		family: nftables.TableFamilyBridge, name: tableName,
		sets: []set{
			{setGuarded, list(name), nil, "ports that are checked"},
			{setMACs, list(name, nftables.TypeEtherAddr), nil, "port . what it may send as"},
			{setAddressed, list(name), nil, "ports whose addresses are known"},
			{ipv4().set(setSource), list(name, nftables.TypeIPAddr), nil, "port . what it may send as"},
			{ipv6().set(setSource), list(name, nftables.TypeIP6Addr), nil, "port . what it may send as"},
			{setRates, list(name), list(verdict), "port: how much it may send"},
		},
		chains: append([]chain{bridgePrerouting(), bridgeInput()}, guard{ports: true}.chains()...),
	}
}

// bridgePrerouting is where a frame is before the bridge learns its sender.
func bridgePrerouting() chain {
	return chain{
		name: "prerouting", hook: bridgeHook(nftables.ChainHookPrerouting),
		rules: []rule{
			say(in(setGuarded, iifname()), jump(chainGuard)),
			say(vmap(setRates, iifname())),
		},
	}
}

// bridgeInput is for frames to the reserved addresses that no bridge forwards, 01:80:c2:00:00:00 to 0f. They come by no
// other chain, and the bridge learns their sender all the same (net/bridge/br_input.c, br_handle_frame).
func bridgeInput() chain {
	return chain{
		name: "input", hook: bridgeHook(nftables.ChainHookInput),
		rules: []rule{
			say(fields(linkPayload(0, 6)), []expr.Any{and([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}), equal(0x01, 0x80, 0xc2, 0, 0, 0)},
				in(setGuarded, iifname()), jump(chainGuard)),
		},
	}
}

func bridgeHook(at *nftables.ChainHook) *hook {
	return &hook{kind: nftables.ChainTypeFilter, at: *at, priority: beforeBridge}
}

// port adds what is said of the container's port itself.
func (c *compiler) port(r plan.Rules) {
	name := ifname(r.Port)
	put := func(set string, key ...[]byte) {
		c.add(element{family: nftables.TableFamilyBridge, set: set, key: concat(append([][]byte{name}, key...)...)})
	}
	if r.Spoof {
		if len(r.MAC) != 6 {
			c.fail("port %s cannot be guarded: %q is no MAC address", r.Port, r.MAC)
			return
		}
		put(setGuarded)
		put(setMACs, r.MAC)
		for _, a := range sources(r.MAC, r.Addresses) {
			put(familySet(a), address(a))
		}
		if len(r.Addresses) > 0 {
			put(setAddressed)
		}
	}
	if r.Out.Bits > 0 {
		limit := chain{name: "rate_" + r.Port, rules: []rule{above(r.Out.Bits, r.Out.Burst)}}
		c.chains[limit.name] = limit
		c.add(element{family: nftables.TableFamilyBridge, set: setRates, key: concat(name), chain: limit.name})
	}
}

// familySet is the name of the set of sources that an address belongs to.
func familySet(a netip.Addr) string {
	if a.Is4() {
		return ipv4().set(setSource)
	}
	return ipv6().set(setSource)
}

// sources are the addresses that a container sends from: its own and the link-local one that the kernel makes of the MAC
// address (RFC 4291, appendix A), nil for one that is not the container's alone. Others of fe80::/10 may be a router's. A
// container without any is not asked.
func sources(mac plan.MAC, own []netip.Addr) []netip.Addr {
	if len(own) == 0 {
		return nil
	}
	var list []netip.Addr
	if mac != nil {
		list = append(list, netip.AddrFrom16([16]byte{
			0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5],
		}))
	}
	for _, a := range own {
		list = append(list, a.Unmap().WithZone(""))
	}
	return list
}

// above drops what is more than a rate in bits a second, with a burst in bytes. The kernel's bucket holds what is due in a
// second, and the burst beside (net/netfilter/nft_limit.c, nft_limit_init); there is no smaller one that counts bytes.
func above(bits, burst uint64) rule {
	return say([]expr.Any{&expr.Limit{
		Type: expr.LimitTypePktBytes, Rate: max(bits/8, 1), Unit: expr.LimitTimeSecond, Over: true,
		Burst: uint32(min(burst, math.MaxUint32)),
	}}, drop())
}
