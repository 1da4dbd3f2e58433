package guest

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy"
)

// What glibc takes of a resolv.conf: MAXNS name servers, and before version 2.26 a search list of MAXDNSRCH domains in
// 256 bytes (resolv.conf(5)).
const (
	maxServers     = 3
	maxSearch      = 6
	maxSearchBytes = 256
)

// Resolv is what a resolv.conf says, see resolv.conf(5). Its other lines, such as sortlist, are passed over.
type Resolv struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// ParseResolv reads a resolv.conf as resolvers do: a line that makes no sense is passed over, and of several search
// lists the last one holds.
func ParseResolv(data []byte) Resolv {
	var r Resolv
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(words[1]); err == nil && !slices.Contains(r.Servers, addr) {
				r.Servers = append(r.Servers, addr)
			}
		case "search":
			r.Search = words[1:]
		case "domain":
			r.Search = words[1:2]
		case "options":
			for _, o := range words[1:] {
				if !slices.Contains(r.Options, o) {
					r.Options = append(r.Options, o)
				}
			}
		}
	}
	return r
}

// Bytes is the resolv.conf: no more than resolvers take of it. A search list that is "." alone is none.
func (r Resolv) Bytes() []byte {
	var b bytes.Buffer
	for i, s := range r.Servers {
		if i < maxServers {
			b.WriteString("nameserver " + s.String() + "\n")
		}
	}
	if list := shortened(r.Search); len(list) > 0 {
		b.WriteString("search " + strings.Join(list, " ") + "\n")
	}
	if len(r.Options) > 0 {
		b.WriteString("options " + strings.Join(r.Options, " ") + "\n")
	}
	return b.Bytes()
}

// shortened is as much of a search list as resolvers take.
func shortened(search []string) []string {
	if slices.Equal(search, []string{"."}) {
		return nil
	}
	var out []string
	size := 0
	for _, domain := range search {
		if size += len(domain) + 1; len(out) == maxSearch || size > maxSearchBytes {
			break
		}
		out = append(out, domain)
	}
	return out
}

// outside leaves out the name servers that a container cannot ask: on loopback it would find only itself, and a
// link-local address means nothing without an interface, which is another one there.
func (r Resolv) outside() Resolv {
	r.Servers = slices.DeleteFunc(slices.Clone(r.Servers), func(a netip.Addr) bool {
		return a.IsLoopback() || a.Zone() != "" || a.IsLinkLocalUnicast() || a.IsUnspecified()
	})
	return r
}

// ofHost is what a container takes over of the host: of its resolv.conf what it can use, else of the list that
// systemd-resolved keeps for those who do not want to ask it.
func ofHost(host Host) Resolv {
	r := ParseResolv(host.Resolv)
	if out := r.outside(); len(out.Servers) > 0 {
		return out
	}
	if resolved := ParseResolv(host.Resolved).outside(); len(r.Servers) > 0 && len(resolved.Servers) > 0 {
		return resolved
	}
	return r.outside()
}

// resolver makes the container's resolv.conf, nil for none: one without a name server would send every question to the
// container itself, so without one it is made only when something was asked for.
func resolver(g policy.Guest, host Host) []byte {
	r := ofHost(host)
	if g.NetNS == policy.NetNSHost {
		r = ParseResolv(host.Resolv)
	}
	if len(g.DNS) > 0 {
		r.Servers = g.DNS
		// Whoever is asked now, it is not the resolver that the host trusts.
		r.Options = slices.DeleteFunc(r.Options, func(o string) bool { return o == "trust-ad" })
	}
	if len(g.DNSSearch) > 0 {
		r.Search = g.DNSSearch
	}
	if len(g.DNSOption) > 0 {
		r.Options = g.DNSOption
	}
	if len(r.Servers) == 0 && len(g.DNSSearch)+len(g.DNSOption) == 0 {
		return nil
	}
	return r.Bytes()
}
