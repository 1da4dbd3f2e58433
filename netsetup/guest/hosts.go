package guest

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// localhost is the head of a hosts file, as Docker writes it.
const localhost = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// ownLoopback stands for a container without addresses, as on Debian for a host without (hosts(5)).
const ownLoopback = "127.0.1.1"

// Entry is who has which names, for a hosts file.
type Entry struct {
	Addrs []netip.Addr
	// Names come the most official first.
	Names []string
}

// base is what stands in a hosts file whatever the container's own names and addresses are: that of localhost, or in the
// host's namespace all that the host's file has, and the lines that the container asked for.
func base(g policy.Guest, host Host) []byte {
	var b bytes.Buffer
	if g.NetNS == policy.NetNSHost && len(host.Hosts) > 0 {
		b.Write(bytes.TrimRight(host.Hosts, "\n"))
		b.WriteByte('\n')
	} else {
		b.WriteString(localhost)
	}
	for _, h := range g.Hosts {
		b.WriteString(h.Addr.String() + "\t" + h.Name + "\n")
	}
	return b.Bytes()
}

// Hosts is a whole hosts file: base, the container's own addresses and names, and the others. A name that stands in base
// stays as it is there, for the administrator or the container's user chose it; of the others the first who has a name
// keeps it.
func Hosts(base []byte, own Entry, others []Entry) []byte {
	given := map[string]bool{}
	for line := range strings.Lines(string(base)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			reserve(given, words[1:])
		}
	}
	var b bytes.Buffer
	b.Write(base)
	if len(own.Addrs) == 0 {
		own.Addrs = []netip.Addr{netip.MustParseAddr(ownLoopback)}
	}
	for _, e := range append([]Entry{own}, others...) {
		names := slices.DeleteFunc(slices.Clone(e.Names), func(n string) bool { return given[strings.ToLower(n)] })
		if len(names) == 0 {
			continue
		}
		reserve(given, names)
		for _, addr := range e.Addrs {
			b.WriteString(addr.String() + "\t" + strings.Join(names, " ") + "\n")
		}
	}
	return b.Bytes()
}

// reserve notes names. Upper and lower case are the same to a resolver.
func reserve(given map[string]bool, names []string) {
	for _, n := range names {
		given[strings.ToLower(n)] = true
	}
}

// ownNames are a container's host names: the one asked for, else that of its config.json, each with its first label.
func ownNames(asked, configured string) []string {
	name := asked
	if name == "" {
		name = configured
	}
	if !isName(name) {
		return nil
	}
	out := []string{name}
	if short, _, dotted := strings.Cut(name, "."); dotted && isName(short) {
		out = append(out, short)
	}
	return out
}

// shortID is how much of an id engines show, and let containers be called by.
const shortID = 12

// Names are the names by which other containers find one: its workload's, the last part of that where engines put a
// namespace or a pod before it, and its id as engines show it. What cannot be a host name is left out, and what every
// host takes for its own: who connects to localhost, in whatever form, means nobody else.
func Names(workload, id string) []string {
	candidates := []string{workload, workload[strings.LastIndexByte(workload, '/')+1:], id}
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		candidates[2] = id[:shortID]
	}
	var out []string
	for _, c := range candidates {
		if isName(c) && !isLocal(c) && !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, c) }) {
			out = append(out, c)
		}
	}
	return out
}

// isLocal says whether a name is one of localhost's: RFC 6761 section 6.3, and what distributions have in /etc/hosts
// besides.
func isLocal(s string) bool {
	s = strings.ToLower(s)
	return slices.Contains([]string{"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}, s) ||
		strings.HasSuffix(s, ".localhost") || strings.HasPrefix(s, "localhost.") ||
		strings.HasPrefix(s, "localhost4.") || strings.HasPrefix(s, "localhost6.")
}

// isName says whether a word can be a name in a hosts file. What resolvers take for an address is none: those end in a
// number.
func isName(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	return s != "." && request.CheckSearchDomain(s) == nil && strings.Trim(last, "0123456789") != ""
}
