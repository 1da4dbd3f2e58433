package policy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/policy/request"
)

// ifName says whether s can be the name of a link of the host.
func (d *decoder) ifName(v value, s string) bool {
	err := request.CheckIfName(s)
	if err == nil {
		return true
	}
	hint := ""
	if base, id, ok := strings.Cut(s, ":"); ok && base != "" && id != "" {
		hint = fmt.Sprintf("a VLAN is written %.40s.%.40s", base, id)
	}
	if len(s) > maxIfName && len(s) <= maxAltName && (strings.HasSuffix(v.name, ": parent") || strings.HasSuffix(v.name, ": uplink")) {
		hint = fmt.Sprintf("write %s = { altname = %q }", v.name[strings.LastIndexByte(v.name, ' ')+1:], s)
	}
	d.fail(v.at, hint, "%s: %s", v.name, err)
	return false
}

// validAltName follows dev_valid_name in the kernel's net/core/dev.c, which it applies to alternative names too, but
// for the length.
func validAltName(s string) bool {
	return len(s) <= maxAltName && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '/' || r == ':'
	})
}

// parentSchema is the table form of parent.
func parentSchema() []field[Parent] {
	return []field[Parent]{
		{
			name: "mac", typ: "string", doc: "the link with this MAC address",
			set: func(d *decoder, p *Parent, v value) {
				if list := d.macs(v); len(list) > 0 {
					p.MAC = list[0]
				}
			},
		},
		{
			name: "altname", typ: "string", doc: "the link with this alternative name, at most 127 bytes",
			set: func(d *decoder, p *Parent, v value) {
				s, ok := v.str(d)
				if ok && !validAltName(s) {
					d.fail(v.at, "", "%s: %s is no alternative name of a link", v.name, quoted(s))
				}
				p.AltName = s
			},
		},
		{
			name: "default-route", typ: "`true`", doc: "the link that the host's default route goes through",
			set: func(d *decoder, p *Parent, v value) {
				if on, ok := v.boolean(d); ok && !on {
					d.fail(v.at, "write true, or name the parent", "%s is false, which names no parent", v.name)
				}
				p.DefaultRoute = true
			},
		},
	}
}

func (d *decoder) parent(p *Parent, v value) {
	if v.kind == kindString {
		if s, ok := v.str(d); ok && d.ifName(v, s) {
			p.Name = s
		}
		return
	}
	const hint = `write a name, { mac = "…" }, { altname = "…" } or { default-route = true }`
	if v.kind != kindTable {
		d.fail(v.at, hint, "%s must be a string or a table, not %s", v.name, v.kind)
		return
	}
	if decode(d, v, parentSchema(), nil, p); len(v.entries) != 1 {
		d.fail(v.at, hint, "%s has %d keys, and needs exactly one", v.name, len(v.entries))
	}
}

// wait reads a time of most at most.
func (d *decoder) wait(out *time.Duration, v value, most time.Duration) {
	hint := fmt.Sprintf("write a time such as \"5s\", up to %q", most)
	if !v.is(d, kindString, hint) {
		return
	}
	w, err := time.ParseDuration(v.text)
	if err != nil || w < 0 || w > most {
		d.fail(v.at, hint, "%s: %s is no time from 0s to %s", v.name, quoted(v.text), most)
		return
	}
	*out = w
}

func (d *decoder) macs(v value) []net.HardwareAddr {
	var out []net.HardwareAddr
	for _, one := range v.filled(d, "list at least one MAC address") {
		m, err := request.ParseMAC(one.text)
		if err != nil {
			d.wrong(one, err)
			continue
		}
		if slices.ContainsFunc(out, func(o net.HardwareAddr) bool { return slices.Equal(o, m) }) {
			d.fail(one.at, "", "%s: %s is there twice", v.name, m)
		}
		out = append(out, m)
	}
	return out
}

func (d *decoder) routes(n *networkDraft, v value) {
	for _, one := range v.list(d) {
		r, err := request.ParseRoute(one.text)
		if err != nil {
			d.wrong(one, err)
			continue
		}
		if slices.Contains(n.Routes, r) {
			d.fail(one.at, "", "%s: %s is there twice", v.name, quoted(one.text))
		}
		n.Routes = append(n.Routes, r)
	}
}

func (d *decoder) sysctls(n *networkDraft, v value) {
	for _, one := range v.list(d) {
		s, err := request.ParseSysctl(one.text)
		if err != nil {
			d.wrong(one, err)
			continue
		}
		if slices.ContainsFunc(n.Sysctls, func(o request.Sysctl) bool { return o.Key == s.Key }) {
			d.fail(one.at, "", "%s: %s is set twice", v.name, s.Key)
		}
		n.Sysctls = append(n.Sysctls, s)
	}
}

// What glibc's resolver takes of a resolv.conf (resolv.conf(5), resolv/bits/types/res_state.h): MAXNS and, before glibc
// 2.26, MAXDNSRCH.
const (
	maxNameServers = 3
	maxSearch      = 6
)

// nameServers reads the addresses of name servers. One on loopback would be the container itself.
func (d *decoder) nameServers(v value) []netip.Addr {
	var out []netip.Addr
	for _, one := range v.filled(d, "list at least one address") {
		addr, err := request.ParseNameServer(one.text)
		switch {
		case err != nil:
			d.wrong(one, err)
		case addr.IsLoopback():
			d.fail(one.at, "name one that containers reach", "%s: on %s a container finds only itself", v.name, addr)
		case slices.Contains(out, addr):
			d.fail(one.at, "", "%s: %s is there twice", v.name, addr)
		default:
			out = append(out, addr)
		}
	}
	d.atMost(v, len(out), maxNameServers)
	return out
}

// searchList reads domains; "." alone is none.
func (d *decoder) searchList(v value) []string {
	var out []string
	for _, one := range v.filled(d, `write ["."] for none`) {
		switch err := request.CheckSearchDomain(one.text); {
		case err != nil:
			d.wrong(one, err)
		case slices.Contains(out, one.text):
			d.fail(one.at, "", "%s: %s is there twice", v.name, one.text)
		default:
			out = append(out, one.text)
		}
	}
	d.atMost(v, len(out), maxSearch)
	if len(out) > 1 && slices.Contains(out, ".") {
		d.fail(v.at, `write ["."] for none`, `%s: "." stands alone`, v.name)
	}
	return out
}

// atMost refuses a list that resolvers would cut off.
func (d *decoder) atMost(v value, n, most int) {
	if n > most {
		d.fail(v.at, "", "%s has %d entries, and resolvers take %d", v.name, n, most)
	}
}
