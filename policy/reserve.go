package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// Reservation is addresses of a network that are kept for the workload of one name.
type Reservation struct {
	Name string
	// Addresses are in the order of the file, one of a subnet at most.
	Addresses []netip.Addr
}

// maxWorkload is how long a workload's name may be, in bytes: a Kubernetes namespace, pod and container are 63 + 253 + 63.
const maxWorkload = 512

// reserveDraft is one key of reserve as it is written. It is checked once the subnets are known.
type reserveDraft struct {
	name  string
	addrs []value
}

// reserve reads the table reserve.
func (d *decoder) reserve(n *networkDraft, v value) {
	if !v.isTable(d) {
		return
	}
	if len(v.entries) > maxEntries {
		d.fail(v.at, "", "%s has %d entries, %d are the most", v.name, len(v.entries), maxEntries)
		return
	}
	for _, e := range v.entries {
		one := value{e.val, v.name + ": " + quoted(e.name)}
		switch {
		case !validWorkload(e.name):
			d.fail(e.at, workloadForm, "%s: this is no name of a workload", one.name)
		case e.val.kind == kindTable:
			d.fail(e.at, `put a name with dots in quotes: "web.example" = "192.0.2.9"`,
				"%s must be an address or a list of addresses, not a table", one.name)
		default:
			n.reserves = append(n.reserves, reserveDraft{e.name, one.filled(d, "list at least one address")})
		}
	}
}

// workloadForm says what a workload's name is.
const workloadForm = "a name has 1 to 512 letters, digits, '.', '_', '-', '/' or ':'"

// CheckWorkload says why no workload has a name, nil when one may have it: what io.lanhook.name takes, and what engines give.
func CheckWorkload(name string) error {
	if !validWorkload(name) {
		return fmt.Errorf("%s is no name of a workload: %s", quoted(name), workloadForm)
	}
	return nil
}

func validWorkload(s string) bool {
	return s != "" && len(s) <= maxWorkload && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("._-/:", r)
	})
}

// checkReserve looks at the reservations of a network whose subnets are right.
func (d *decoder) checkReserve(n *networkDraft, name string) {
	if len(n.Subnets) < len(n.subnets) {
		return
	}
	for _, r := range n.reserves {
		got := Reservation{Name: r.name}
		for _, v := range r.addrs {
			if addr, ok := d.reserved(n, got, v); ok {
				got.Addresses = append(got.Addresses, addr)
			}
		}
		n.Reserve = append(n.Reserve, got)
	}
	sort.Slice(n.Reserve, func(i, j int) bool { return n.Reserve[i].Name < n.Reserve[j].Name })
	if len(n.Subnets) == 0 && len(n.reserves) > 0 {
		d.fail(n.place("reserve"), "add a [[network."+n.Name+".subnet]]", "%s: reserve needs a subnet, and there is none", name)
	}
}

// reserved reads one address of a reservation, of which those before it are known.
func (d *decoder) reserved(n *networkDraft, r Reservation, v value) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(v.text)
	if err != nil || addr.Zone() != "" {
		hint := ""
		if p, err := netip.ParsePrefix(v.text); err == nil {
			hint = "write " + p.Addr().String() + ": the length is the subnet's"
		}
		d.fail(v.at, hint, "%s: %s is no IP address", v.name, quoted(v.text))
		return netip.Addr{}, false
	}
	addr = addr.Unmap()
	s := n.subnet(addr)
	if s == nil {
		if len(n.Subnets) > 0 {
			d.fail(v.at, "", "%s: %s is outside the subnets: %s", v.name, addr, n.prefixes())
		}
		return netip.Addr{}, false
	}
	other, kept := n.reservedFor(addr)
	second := slices.ContainsFunc(r.Addresses, s.Prefix.Contains)
	switch err := ipam.Check(s.Pool(), addr); {
	case addr == s.Gateway:
		d.fail(v.at, "", "%s: %s is the gateway of subnet %s", v.name, addr, s.Prefix)
	case err != nil && slices.ContainsFunc(s.Exclude, func(x ipam.Range) bool { return x.Contains(addr) }):
		d.fail(v.at, "what is reserved is never lent to others, and need not be excluded",
			"%s: %s is in exclude of subnet %s, which nobody gets", v.name, addr, s.Prefix)
	case err != nil:
		d.wrong(v, err)
	case kept:
		d.fail(v.at, "", "%s: %s is reserved for %s already", v.name, addr, quoted(other))
	case slices.Contains(r.Addresses, addr):
		d.fail(v.at, "", "%s: %s is there twice", v.name, addr)
	case second:
		d.fail(v.at, "a container has one address of each subnet unless it asks for more",
			"%s: %s is the second address of subnet %s", v.name, addr, s.Prefix)
	default:
		return addr, true
	}
	return netip.Addr{}, false
}

// reservedFor is the name for which the network keeps an address, false for none.
func (n *Network) reservedFor(addr netip.Addr) (string, bool) {
	for _, r := range n.Reserve {
		if slices.Contains(r.Addresses, addr) {
			return r.Name, true
		}
	}
	return "", false
}

func viewReserve(all []Reservation) ReserveView {
	if len(all) == 0 {
		return nil
	}
	v := ReserveView{}
	for _, r := range all {
		v[r.Name] = words(r.Addresses)
	}
	return v
}

// ReservedFor are the addresses that the network keeps for a workload, each with the length of its subnet, none for most.
func (n *Network) ReservedFor(name string) []netip.Prefix {
	var all []netip.Prefix
	for _, r := range n.Reserve {
		if r.Name != name {
			continue
		}
		for _, addr := range r.Addresses {
			if s := n.subnet(addr); s != nil {
				all = append(all, netip.PrefixFrom(addr, s.Prefix.Bits()))
			}
		}
	}
	return all
}

// Reservations are the addresses that networks on n's layer 2 keep for workloads, by the names of these. Its arguments are
// as with [Policy.Reserved].
func (p *Policy) Reservations(n *Network, wire string, others map[string]string) map[netip.Addr]string {
	var all map[netip.Addr]string
	for _, o := range p.beside(n, wire, others) {
		for _, r := range o.Reserve {
			for _, addr := range r.Addresses {
				if all == nil {
					all = map[netip.Addr]string{}
				}
				all[addr] = r.Name
			}
		}
	}
	return all
}

// reservations refuses one address of a LAN that two networks there keep for two names.
func (d *decoder) reservations(doc *document) {
	first := map[netip.Addr][]*networkDraft{}
	for _, n := range doc.order {
		for _, r := range n.Reserve {
			for _, addr := range r.Addresses {
				i := slices.IndexFunc(first[addr], func(o *networkDraft) bool {
					name, _ := o.reservedFor(addr)
					return o != n && name != r.Name && !n.unsure() && !o.unsure() && o.carries(n.Network, n.Wire())
				})
				if i >= 0 {
					o := first[addr][i]
					name, _ := o.reservedFor(addr)
					d.fail(n.place("reserve"), "", "network %s: reserve: %s: %s is reserved for %s by network %s on the same LAN",
						n.Name, quoted(r.Name), addr, quoted(name), o.Name)
				}
				first[addr] = append(first[addr], n)
			}
		}
	}
}

// reserve gives an attachment what its network keeps for the workload's name, if the rule lets it have that name, and
// refuses addresses that are kept for others.
func reserve(k asked, s Subject, at *Attachment) error {
	n, mine := at.Network, k.rule.lets(s)
	for _, ip := range at.IPs {
		name, kept := n.reservedFor(ip.Addr())
		switch {
		case !kept || mine && name == s.Name:
		case name == s.Name:
			return k.deny(k.rule.letsNames(), "address %s is reserved for %s, and rule %s does not let this container have that name",
				ip.Addr(), quoted(name), quoted(k.rule.Name))
		default:
			return k.deny("", "address %s is reserved for %s", ip.Addr(), quoted(name))
		}
	}
	reserved := n.ReservedFor(s.Name)
	if mine {
		at.Reserved, reserved = reserved, nil
	}
	at.Withheld = len(reserved) > 0 && len(at.IPs) == 0
	if n.IPAM == IPAMStatic && len(at.IPs)+len(at.Reserved) == 0 {
		if at.Withheld {
			return k.deny(k.rule.letsNames(), "rule %s does not let this container have the name %s, for which %s is reserved",
				quoted(k.rule.Name), quoted(s.Name), reserved[0].Addr())
		}
		return k.deny("add ip=ADDRESS", "%s gives only addresses that are asked for, and none is", n.title())
	}
	return nil
}

// lets says whether a subject may have its name, as far as reservations go.
func (r *Rule) lets(s Subject) bool {
	if r.Names == nil {
		return s.Named
	}
	return globAny(r.Names, s.Name)
}

// letsNames is advice about the names that a rule lets its containers have.
func (r *Rule) letsNames() string {
	if r.Names == nil {
		return "the rule has no names, so that only a name counts that the engine itself gave"
	}
	return allowed("names", r.Names)
}

// oddNames warns of names in rules that are no reservation's, and of reservations that nobody can have.
func (doc *document) oddNames(warn func(at mark, msg string)) {
	for i := range doc.rules {
		r := &doc.rules[i]
		for _, v := range r.names {
			used := slices.ContainsFunc(doc.order, func(n *networkDraft) bool {
				return globAny(r.Networks, n.Name) &&
					slices.ContainsFunc(n.Reserve, func(res Reservation) bool { return glob(v.text, res.Name) })
			})
			if !used {
				warn(v.at, v.name+": no network that the rule grants has a reservation for "+quoted(v.text))
			}
		}
		if len(r.Names) > 0 && r.Match.everyone() {
			warn(r.place("names"), "rule "+quoted(r.Name)+": names: whoever starts a container may call it so, and gets what is reserved")
		}
	}
	for _, n := range doc.order {
		for _, res := range n.Reserve {
			if !slices.ContainsFunc(doc.rules, func(r ruleDraft) bool { return globAny(r.Networks, n.Name) && r.mayLet(res.Name) }) {
				warn(n.place("reserve"), "network "+n.Name+": reserve: "+quoted(res.Name)+": no rule lets a container have this name; see names in [[rule]]")
			}
		}
	}
}

// mayLet says whether some container of the rule may have a name, as far as reservations go: podman and Docker give none.
func (r *Rule) mayLet(name string) bool {
	if r.Names != nil {
		return globAny(r.Names, name)
	}
	return len(r.Match.Engine) == 0 || globAny(r.Match.Engine, "containerd") || globAny(r.Match.Engine, "cri-o")
}

// ruleNamesFor reads the names that a rule lets its containers have.
func (d *decoder) ruleNamesFor(r *ruleDraft, v value) {
	for _, one := range v.list(d) {
		if !validWorkload(strings.ReplaceAll(strings.ReplaceAll(one.text, "*", "x"), "?", "x")) {
			d.fail(one.at, "", "%s: %s matches no name of a workload", v.name, quoted(one.text))
			continue
		}
		r.names = append(r.names, one)
	}
	r.Names = texts(r.names)
}
