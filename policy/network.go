package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// maxIfName is IFNAMSIZ without its final zero (linux/if.h).
	maxIfName = 15
	// maxAltName is ALTIFNAMSIZ without its final zero (linux/if.h).
	maxAltName = 127
	// minMTU and maxMTU are what IPv4 asks of a link (RFC 791) and what its length field can say.
	minMTU = 68
	maxMTU = 65535
	// minMTU6 is what IPv6 asks of a link (RFC 8200 section 5).
	minMTU6 = 1280
	// maxMetric is the largest that the kernel reads back as a positive int.
	maxMetric = 1<<31 - 1
	// maxQueue is a million packets, far above what a queue is ever set to.
	maxQueue = 1_000_000
	// defaultParentWait and maxParentWait: a hook gives up after 20 s, and its runtime after 30.
	defaultParentWait = 5 * time.Second
	maxParentWait     = 15 * time.Second
	// maxNetworkName leaves a network's name readable in a table.
	maxNetworkName = 63
)

// networkDraft is a network with the places of its keys.
type networkDraft struct {
	*Network
	// named is where the network's name stands.
	named   mark
	seen    map[string]mark
	subnets []subnetDraft
	// reserves is reserve as written.
	reserves []reserveDraft
	// masquerade and snat are what the network says for those of its subnets that say nothing.
	masquerade  choice
	snat        []netip.Addr
	rate, burst twoWay
	// tags are the ids of vlan as written, and protocol is vlan-protocol; what they mean depends on the driver.
	tags     []int
	protocol VLANProtocol
	// hostAddresses are those of host-access as written.
	hostAddresses []value
	// bad is true when something is wrong with it already, and so with what follows from it.
	bad bool
}

// place is where a key stands, or the network's name when it is not set.
func (n *networkDraft) place(key string) mark {
	if at, ok := n.seen[key]; ok {
		return at
	}
	return n.named
}

func (n *networkDraft) has(key string) bool {
	_, ok := n.seen[key]
	return ok
}

// network reads and checks one [network.NAME].
func (d *decoder) network(e *entry) *networkDraft {
	n := &networkDraft{
		named: e.at,
		Network: &Network{
			Name: e.name, MAC: MACStable, ParentWait: defaultParentWait, SLAACWait: defaultSLAACWait, DefaultRoute: true, Firewall: true,
			GatewayMode: GatewayNAT, ICC: true, Isolate: true, SourceRouting: true,
		},
	}
	before := len(d.found)
	defer func() { n.bad = len(d.found) > before }()
	name := "network " + e.name
	if !validNetworkName(e.name) {
		name = "network " + quoted(e.name)
		d.fail(e.at, "a name has 1 to 63 of a-z, 0-9, _ . - and begins with a letter or digit", "%s: this is no name", name)
	}
	n.seen = decode(d, value{e.val, name}, d.networkKeys(), laterNetworkKeys(), n)
	if n.Driver == 0 {
		return n
	}
	d.foreignKeys(n, name)
	d.checkLink(n, name)
	d.conflicts(n, name)
	d.checkFirewall(n, name)
	d.checkAddresses(n, name)
	d.checkHostAccess(n, name)
	d.checkIPv6(n, name)
	n.Rates = d.rates(n.seen, name, n.MTU, n.rate, n.burst)
	return n
}

// networkKeys is [networkSchema], made once for all networks.
func (d *decoder) networkKeys() []field[networkDraft] {
	if d.keys == nil {
		d.keys = networkSchema()
	}
	return d.keys
}

// validNetworkName allows [a-z0-9][a-z0-9_.-]{0,62}: what can stand in a table's header without surprise.
func validNetworkName(s string) bool {
	const first, other = "abcdefghijklmnopqrstuvwxyz0123456789", "_.-"
	return s != "" && len(s) <= maxNetworkName && strings.Trim(s[:1], first) == "" &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(first+other, r) })
}

// foreignKeys refuses the keys of another driver.
func (d *decoder) foreignKeys(n *networkDraft, name string) {
	for _, f := range d.networkKeys() {
		if at, ok := n.seen[f.name]; ok && len(f.drivers) > 0 && !slices.Contains(f.drivers, n.Driver) {
			if f.name == "mac" && n.Driver == IPVLAN {
				d.fail(at, "take the key out",
					"%s: mac cannot be set: all links of an ipvlan parent have its MAC address, the only one that the switch sees", name)
				continue
			}
			d.fail(at, "take the key out", "%s: the driver %s has no %s, only %s", name, n.Driver, f.name, haveIt(f.drivers))
		}
	}
}

// haveIt is "macvlan has", or "macvlan, ipvlan and vlan have".
func haveIt(drivers []Driver) string {
	all := words(drivers)
	last := len(all) - 1
	if last == 0 {
		return all[0] + " has"
	}
	return strings.Join(all[:last], ", ") + " and " + all[last] + " have"
}
