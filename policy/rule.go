package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy/request"
)

// maxPort is the last port of a transport protocol.
const maxPort = 65535

// ruleDraft is a rule with the places of what is checked across tables.
type ruleDraft struct {
	Rule
	at          mark
	seen        map[string]mark
	networks    []value
	names       []value
	named       bool
	rate, burst twoWay
}

// ruleSchema is the table [[rule]].
func ruleSchema() []field[ruleDraft] {
	return slices.Concat([]field[ruleDraft]{
		{
			name: "name", typ: "string", def: "`#N`, its place", doc: "the rule's name in messages",
			set: func(d *decoder, r *ruleDraft, v value) { d.ruleName(r, v) },
		},
		{
			name: "match", typ: "table", required: true, doc: "whom the rule is for; `{}` matches every container",
			set: func(d *decoder, r *ruleDraft, v value) {
				decode(d, v, matchSchema(), nil, &r.Match)
			},
		},
	}, grantSchema())
}

// grantSchema are the keys of a rule that grant something.
func grantSchema() []field[ruleDraft] {
	return slices.Concat(addressGrants(), firewallGrants(), furtherGrants())
}

// addressGrants are the keys about networks, and addresses on them.
func addressGrants() []field[ruleDraft] {
	return []field[ruleDraft]{
		{
			name: "networks", typ: "list of globs", def: "none", doc: "the networks that may be had",
			set: func(d *decoder, r *ruleDraft, v value) { r.networks = v.list(d); r.Networks = texts(r.networks) },
		},
		{
			name: "ip", typ: "list of strings or `true`", def: "none",
			doc: "the addresses that may be asked for: addresses, `FROM-TO` or CIDR; `true` for any that the network has. " +
				"The gateway of a LAN only where it is written by itself, for a container that is the router",
			set: func(d *decoder, r *ruleDraft, v value) { d.ruleIP(r, v) },
		},
		{
			name: "mac", typ: "list of globs or `true`", def: "none",
			doc: "the MAC addresses that may be asked for, such as `02:42:*`; `true` for any",
			set: func(d *decoder, r *ruleDraft, v value) {
				if r.MACAny = v.all(d); !r.MACAny {
					r.MAC = d.macGlobs(v)
				}
			},
		},
		{
			name: "names", typ: "list of globs", def: "those that the engine itself gave",
			doc: "the names of workloads under which the network's `reserve` is theirs, also where a container gives itself the name",
			set: func(d *decoder, r *ruleDraft, v value) { d.ruleNamesFor(r, v) },
		},
	}
}

// firewallGrants are the keys about the host's ports and addresses, and about how much a container sends and receives.
func firewallGrants() []field[ruleDraft] {
	return []field[ruleDraft]{
		{
			name: "publish", typ: "list of strings or `true`", def: "none",
			doc: "the host's ports that may be published: `FROM-TO/PROTOCOL` or `PORT/PROTOCOL` with `tcp` (the default), " +
				"`udp` or `sctp`; `true` for all. Where a container leaves the choice of a port to the host, it is made among these",
			set: func(d *decoder, r *ruleDraft, v value) { d.rulePublish(r, v) },
		},
		{
			name: "dnat", typ: "list of strings or `true`", def: "none",
			doc: "the host's addresses that may be asked for as a whole: addresses, `FROM-TO` or CIDR; `true` for any",
			set: func(d *decoder, r *ruleDraft, v value) { d.ruleDNAT(r, v) },
		},
		{
			name: "rate", typ: "string or table", def: "none",
			doc: "as the network's `rate`, for each interface that the rule allows; the lower of both holds",
			set: func(d *decoder, r *ruleDraft, v value) { r.rate = d.eachWay(v, rateOf) },
		},
		{
			name: "burst", typ: "string or table", def: "10 ms of the rate, `\"72kb\"` at least",
			doc: "how much may come at once above the rule's `rate`",
			set: func(d *decoder, r *ruleDraft, v value) { r.burst = d.eachWay(v, burstOf) },
		},
	}
}

// furtherGrants are the keys about interfaces: their settings, their number, whose they are, and what they are made of.
func furtherGrants() []field[ruleDraft] {
	return []field[ruleDraft]{
		{
			name: "sysctl", typ: "list of globs", def: "none",
			doc: "the keys of interface settings that may be asked for, with the word IFNAME for the interface's name",
			set: func(d *decoder, r *ruleDraft, v value) { r.Sysctl = texts(v.list(d)) },
		},
		slaacGrant(),
		{
			name: "max-interfaces", typ: "integer", def: strconv.Itoa(request.MaxAttachments),
			doc: "how many attachments one container may have, 1 to " + strconv.Itoa(request.MaxAttachments),
			set: func(d *decoder, r *ruleDraft, v value) {
				r.MaxInterfaces = v.integer(d, 1, request.MaxAttachments)
			},
		},
		{
			name: "netns", typ: "list of globs", def: "none",
			doc: "the values of `io.lanhook.netns` that may be asked for: `host`, `none`, `container:GLOB`. Only the shims " +
				"serve them",
			set: func(d *decoder, r *ruleDraft, v value) { d.ruleNetNS(r, v) },
		},
		{
			name: "spell-out", typ: "table", def: "none",
			doc: "allows attachments that are spelled out in full, within these bounds",
			set: func(d *decoder, r *ruleDraft, v value) {
				r.SpellOut = &SpellOut{}
				decode(d, v, spellOutSchema(), nil, r.SpellOut)
				r.SpellOut.defaults()
			},
		},
	}
}

// matchSchema is the table match of a rule.
func matchSchema() []field[Match] {
	globs := func(name, doc string, out func(*Match) *[]string) field[Match] {
		return field[Match]{
			name: name, typ: "glob or list of globs", doc: doc,
			set: func(d *decoder, m *Match, v value) {
				*out(m) = texts(v.filled(d, "leave the key out to match every container"))
			},
		}
	}
	return []field[Match]{
		{
			name: "annotations", typ: "table of globs or lists of globs",
			doc: "annotations that the container must have, by their whole key",
			set: func(d *decoder, m *Match, v value) { d.matchAnnotations(m, v) },
		},
		globs("engine", "who started the container", func(m *Match) *[]string { return &m.Engine }),
		globs("namespace", "the engine's namespace", func(m *Match) *[]string { return &m.Namespace }),
		globs("bundle", "the path of the bundle", func(m *Match) *[]string { return &m.Bundle }),
		globs("cgroup", "the path of the container's cgroup", func(m *Match) *[]string { return &m.CGroup }),
		globs("id", "the container's id", func(m *Match) *[]string { return &m.ID }),
	}
}

// rule reads one [[rule]], the number-th of all.
func (d *decoder) rule(n *node, number int) ruleDraft {
	r := ruleDraft{at: n.at, Rule: Rule{Name: fmt.Sprintf("#%d", number)}}
	name := "rule " + r.Name
	if n.kind == kindTable {
		if e := n.index["name"]; e != nil && e.val.kind == kindString && e.val.text != "" {
			name = "rule " + quoted(e.val.text)
		}
	}
	r.seen = decode(d, value{n, name}, ruleSchema(), nil, &r)
	r.Rates = d.rates(r.seen, name, 0, r.rate, r.burst)
	return r
}

func (d *decoder) ruleName(r *ruleDraft, v value) {
	s, ok := v.str(d)
	if !ok {
		return
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(s) > maxNetworkName || strings.ContainsFunc(s, unprintable) || s[0] == '#' {
		d.fail(v.at, "", "%s: %s is no name: it has at most %d bytes, all printable, and does not begin with #",
			v.name, quoted(s), maxNetworkName)
		return
	}
	r.Name, r.named = s, true
}

// all says whether a grant is true, which grants everything. false is refused: leaving the key out says that.
func (v value) all(d *decoder) bool {
	if v.kind != kindBool {
		return false
	}
	if v.text != "true" {
		d.fail(v.at, "leave the key out to grant nothing", "%s is false", v.name)
	}
	return true
}

func (d *decoder) ruleIP(r *ruleDraft, v value) {
	if r.IPAny = v.all(d); r.IPAny {
		return
	}
	r.IP = d.granted(v)
	for _, one := range v.items {
		r.addSingle(one.text)
	}
	if v.kind == kindString {
		r.addSingle(v.text)
	}
}

// addSingle notes an address that stands for itself, with or without the length of its prefix.
func (r *ruleDraft) addSingle(text string) {
	got, err := ipam.ParseRange(text)
	if err == nil && got.From == got.To && !strings.Contains(text, "-") {
		r.IPSingle = append(r.IPSingle, got.From)
	}
}

// ruleDNAT reads the host addresses that may be asked for.
func (d *decoder) ruleDNAT(r *ruleDraft, v value) {
	if v.all(d) {
		r.DNAT = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		return
	}
	r.DNAT = d.granted(v)
}

// granted reads a list of addresses, ranges and prefixes.
func (d *decoder) granted(v value) []netip.Prefix {
	var out []netip.Prefix
	for _, one := range v.list(d) {
		got, err := ipam.ParseRange(one.text)
		if err != nil {
			d.wrong(one, err)
			continue
		}
		out = append(out, prefixes(got)...)
	}
	return out
}

// prefixes are the fewest prefixes that make up a range.
func prefixes(r ipam.Range) []netip.Prefix {
	var out []netip.Prefix
	for from := r.From; ; {
		p := netip.PrefixFrom(from, from.BitLen())
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(from, p.Bits()-1)
			if wider.Masked().Addr() != from || r.To.Less(ipam.RangeOf(wider).To) {
				break
			}
			p = wider
		}
		out = append(out, p)
		last := ipam.RangeOf(p).To
		if last.Compare(r.To) >= 0 {
			return out
		}
		from = last.Next()
	}
}

func (d *decoder) macGlobs(v value) []string {
	var out []string
	for _, one := range v.list(d) {
		s := strings.ToLower(one.text)
		if strings.Trim(s, "0123456789abcdef:*?") != "" {
			d.fail(one.at, `write MAC addresses as "02:42:*"`, "%s: %s matches no MAC address", v.name, quoted(one.text))
			continue
		}
		out = append(out, s)
	}
	return out
}

func (d *decoder) rulePublish(r *ruleDraft, v value) {
	if v.all(d) {
		for _, p := range []request.Protocol{request.TCP, request.UDP, request.SCTP} {
			r.Publish = append(r.Publish, PortRange{1, maxPort, p})
		}
		return
	}
	for _, one := range v.list(d) {
		if p, ok := portRange(one.text); ok {
			r.Publish = append(r.Publish, p)
			continue
		}
		d.fail(one.at, `write "8000-8999/tcp" or "53/udp"`, "%s: %s is no range of ports", v.name, quoted(one.text))
	}
}

func portRange(s string) (PortRange, bool) {
	ports, proto, hasProto := strings.Cut(s, "/")
	var p PortRange
	switch {
	case !hasProto || proto == "tcp":
		p.Protocol = request.TCP
	case proto == "udp":
		p.Protocol = request.UDP
	case proto == "sctp":
		p.Protocol = request.SCTP
	default:
		return p, false
	}
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 16)
	b, errB := strconv.ParseUint(to, 10, 16)
	if errA != nil || errB != nil || a == 0 || b < a {
		return p, false
	}
	p.From, p.To = uint16(a), uint16(b)
	return p, true
}

func (d *decoder) ruleNetNS(r *ruleDraft, v value) {
	for _, one := range v.list(d) {
		id, of := strings.CutPrefix(one.text, "container:")
		if one.text == "host" || one.text == "none" || of && id != "" {
			r.NetNS = append(r.NetNS, one.text)
			continue
		}
		d.fail(one.at, "known are host, none and container:GLOB", "%s: %s is no network namespace", v.name, quoted(one.text))
	}
}

func (d *decoder) matchAnnotations(m *Match, v value) {
	if !v.isTable(d) {
		return
	}
	if len(v.entries) == 0 {
		d.fail(v.at, "leave the key out to match every container", "%s is empty", v.name)
	}
	m.Annotations = map[string][]string{}
	for _, e := range v.entries {
		one := value{e.val, v.name + ": " + quoted(e.name)}
		switch {
		case e.name == "":
			d.fail(e.at, "", "%s: the key is empty", v.name)
		case e.val.kind == kindTable:
			d.fail(e.at, `put a key with dots in quotes: "io.example.key" = "value"`,
				"%s must be a glob or a list of globs, not a table", one.name)
		default:
			m.Annotations[e.name] = texts(one.filled(d, "list at least one glob"))
		}
	}
}
