package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// across checks what no single table can know.
func (d *decoder) across(doc *document) {
	d.bridges(doc)
	d.links(doc)
	d.hostLinks(doc)
	d.wholeAddresses(doc)
	d.reservations(doc)
	d.ruleNames(doc)
	names := slices.Sorted(maps.Keys(doc.networks))
	for i := range doc.rules {
		r := &doc.rules[i]
		for _, v := range r.networks {
			if !isGlob(v.text) && doc.networks[v.text] == nil {
				d.fail(v.at, nearest(v.text, names), "%s: there is no network %s", v.name, quoted(v.text))
			}
		}
	}
}

func (d *decoder) ruleNames(doc *document) {
	seen := map[string]mark{}
	for i := range doc.rules {
		r := &doc.rules[i]
		if !r.named {
			continue
		}
		if old, ok := seen[r.Name]; ok {
			d.fail(r.seen["name"], "", "rule %q: another rule has this name, in %s", r.Name, old)
			continue
		}
		seen[r.Name] = r.seen["name"]
	}
}

// bridges refuses two networks that want one bridge to be two things, and two bridges for the same addresses: the host
// has one routing table and reaches containers on one of them only.
func (d *decoder) bridges(doc *document) {
	first := map[string]*networkDraft{}
	var all []used
	for _, n := range doc.order {
		if n.Driver != Bridge || n.Bridge == "" || n.unsure() {
			continue
		}
		old := first[n.Bridge]
		if old == nil {
			first[n.Bridge] = n
			// Those of a LAN are its routers' to tell apart.
			for _, s := range n.Subnets {
				if !n.OnLAN() {
					all = append(all, used{s.Prefix, n})
				}
			}
			continue
		}
		if !d.sameLAN(n, old) {
			continue
		}
		if !n.OnLAN() && !sameSubnets(old.Subnets, n.Subnets) || old.MTU != n.MTU {
			d.fail(n.place("bridge"), "give it another bridge, or the same subnets and mtu",
				"network %s: network %s has the bridge %s already, with other subnets or another mtu", n.Name, old.Name, n.Bridge)
		}
		d.sameRules(n, old)
	}
	d.overlaps(all)
}

// sameRules refuses two networks on one bridge that differ in what rules say of the bridge itself.
func (d *decoder) sameRules(n, old *networkDraft) {
	for _, k := range []struct {
		key          string
		mine, theirs string
	}{
		{"firewall", strconv.FormatBool(n.Firewall), strconv.FormatBool(old.Firewall)},
		{"internal", strconv.FormatBool(n.Internal), strconv.FormatBool(old.Internal)},
		{"gateway-mode", n.GatewayMode.String(), old.GatewayMode.String()},
		{"icc", strconv.FormatBool(n.ICC), strconv.FormatBool(old.ICC)},
		{"isolate", strconv.FormatBool(n.Isolate), strconv.FormatBool(old.Isolate)},
	} {
		if k.mine != k.theirs {
			d.fail(n.place(k.key), "give it another bridge, or make it the same in both",
				"network %s: %s is %s here and %s for network %s, and both have the bridge %s",
				n.Name, k.key, k.mine, k.theirs, old.Name, n.Bridge)
			return
		}
	}
}

// wholeAddresses refuses a host address that two networks give to a container as a whole, and one by which the
// containers of a network reach the host.
func (d *decoder) wholeAddresses(doc *document) {
	first, gateways := map[netip.Addr]*networkDraft{}, map[netip.Addr]*networkDraft{}
	for _, n := range doc.order {
		for _, s := range n.Subnets {
			if n.hostGateway() && gateways[s.Gateway] == nil {
				gateways[s.Gateway] = n
			}
		}
	}
	for _, n := range doc.order {
		for _, addr := range n.DNAT {
			if o := gateways[addr]; o != nil && o != n {
				d.fail(n.place("dnat"), "name an address that is no gateway", "network %s: dnat %s is the gateway of network %s",
					n.Name, addr, o.Name)
			}
			if old := first[addr]; old != nil {
				d.fail(n.place("dnat"), "give each network another address", "network %s: dnat %s is network %s's already",
					n.Name, addr, old.Name)
				continue
			}
			first[addr] = n
		}
	}
}

// used is a subnet and the network that has it.
type used struct {
	prefix netip.Prefix
	by     *networkDraft
}

// overlaps refuses subnets that lie in another bridge's. In the order of address and length, a prefix comes after the
// one that holds it, and right behind it or behind others that it holds.
func (d *decoder) overlaps(all []used) {
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i].prefix, all[j].prefix
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits())) < 0
	})
	var outer used
	for _, u := range all {
		if !outer.prefix.IsValid() || !outer.prefix.Overlaps(u.prefix) {
			outer = u
			continue
		}
		// The network that stands first in the files is taken to be right.
		first, second := outer, u
		if second.by.named.compare(first.by.named) < 0 {
			first, second = second, first
		}
		d.fail(second.by.subnetMark(second.prefix), "the host can route a subnet to one bridge only",
			"network %s: subnet %s overlaps subnet %s of network %s", second.by.Name, second.prefix, first.prefix, first.by.Name)
	}
}

func (n *networkDraft) subnetMark(p netip.Prefix) mark {
	for _, s := range n.subnets {
		if s.Prefix == p {
			return s.seen["subnet"]
		}
	}
	return n.named
}

// sameSubnets compares what makes a bridge: the subnets and their gateways, in any order.
func sameSubnets(a, b []Subnet) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s Subnet) bool {
		return !slices.ContainsFunc(b, func(o Subnet) bool { return o.Prefix == s.Prefix && o.Gateway == s.Gateway })
	})
}

// warnings are what is allowed and probably not meant.
func (doc *document) warnings(p *Policy) []finding {
	var out []finding
	warn := func(at mark, msg string) { out = append(out, finding{at: at, msg: msg}) }
	all := ""
	for i := range doc.rules {
		r := &doc.rules[i]
		name := "rule " + quoted(r.Name)
		if all != "" {
			warn(r.at, name+": it is never tried, since rule "+quoted(all)+" before it matches every container")
		}
		if r.Match.everyone() {
			warn(r.place("match"), name+": it matches every container")
			if all == "" {
				all = r.Name
			}
		}
		if r.grants() && r.Match.forgeable() {
			warn(r.place("match"), name+": it rests on annotations alone that whoever starts a container can set ("+
				strings.Join(slices.Sorted(maps.Keys(r.Match.Annotations)), ", ")+")")
		}
		if so := r.SpellOut; so != nil && so.modeless() != "" {
			warn(r.place("spell-out"), name+": spell-out: it grants the driver "+so.modeless()+" and none of its modes")
		}
		for _, v := range r.networks {
			if isGlob(v.text) && !slices.ContainsFunc(doc.order, func(n *networkDraft) bool { return glob(v.text, n.Name) }) {
				warn(v.at, v.name+": no network matches "+quoted(v.text))
			}
		}
	}
	doc.oddNames(warn)
	for _, n := range doc.order {
		n.oddVLANs(warn)
		if !slices.ContainsFunc(p.Rules, func(r Rule) bool { return globAny(r.Networks, n.Name) }) {
			warn(n.named, "network "+n.Name+": no rule allows it")
		}
	}
	return out
}

func (r *ruleDraft) place(key string) mark {
	if at, ok := r.seen[key]; ok {
		return at
	}
	return r.at
}

// grants says whether a rule allows anything. One that does not is there to refuse, which nobody forges to get.
func (r *Rule) grants() bool { return len(r.Networks) > 0 || r.SpellOut != nil || len(r.NetNS) > 0 }

// everyone says whether a match has no condition.
func (m Match) everyone() bool {
	return len(m.Annotations) == 0 && len(m.Engine) == 0 && len(m.Namespace) == 0 && len(m.Bundle) == 0 &&
		len(m.CGroup) == 0 && len(m.ID) == 0
}

// forgeable says whether a match rests on nothing but annotations that the requester writes.
func (m Match) forgeable() bool {
	if len(m.Annotations) == 0 || len(m.Engine) > 0 || len(m.Namespace) > 0 || len(m.Bundle) > 0 || len(m.CGroup) > 0 ||
		len(m.ID) > 0 {
		return false
	}
	for key := range m.Annotations {
		if setByEngine(key) {
			return false
		}
	}
	return true
}

// setByEngine says whether an engine writes the annotation itself, over what the requester wrote: containerd's CRI
// plugin (internal/cri/annotations) and CRI-O (pkg/annotations) do under their own prefixes.
func setByEngine(key string) bool {
	return strings.HasPrefix(key, "io.kubernetes.cri.") || strings.HasPrefix(key, "io.kubernetes.cri-o.")
}

// Warnings are what is valid in the policy and probably not what was meant, in the order of the files.
func (p *Policy) Warnings() []Warning { return slices.Clone(p.warnings) }
