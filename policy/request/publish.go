package request

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// protocols are the words at the index of their Protocol.
func protocols() []string { return []string{"tcp", "udp", "sctp"} }

// String is the protocol's name in lower case.
func (p Protocol) String() string {
	if words := protocols(); int(p) < len(words) {
		return words[p]
	}
	return "protocol " + strconv.Itoa(int(p))
}

// MarshalText writes what String returns. The error is about a value that is none of the constants.
func (p Protocol) MarshalText() ([]byte, error) {
	if int(p) >= len(protocols()) {
		return nil, fmt.Errorf("%v: there is no such protocol", p)
	}
	return []byte(p.String()), nil
}

// UnmarshalText reads tcp, udp or sctp, in any case, as Docker does.
func (p *Protocol) UnmarshalText(text []byte) error {
	i := slices.Index(protocols(), strings.ToLower(string(text)))
	if i < 0 {
		return fmt.Errorf("protocol %s: there are %s", quote(string(text)), strings.Join(protocols(), ", "))
	}
	// Within the words, of which there are three.
	*p = Protocol(i) //nolint:gosec // The index of a list of three fits.
	return nil
}

// String is the range in the form in which it is asked for, with the protocol.
func (p Port) String() string {
	var b strings.Builder
	if p.Addr.IsValid() {
		host := p.Addr.String()
		if p.Addr.Is6() {
			host = "[" + host + "]"
		}
		b.WriteString(host + ":")
	}
	if p.Host != 0 {
		b.WriteString(portRange(p.Host, p.Count))
	}
	if p.Addr.IsValid() || p.Host != 0 {
		b.WriteString(":")
	}
	return b.String() + portRange(p.Container, p.Count) + "/" + p.Protocol.String()
}

func portRange(from uint16, count int) string {
	if count <= 1 {
		return strconv.Itoa(int(from))
	}
	return strconv.Itoa(int(from)) + "-" + strconv.Itoa(int(from)+count-1)
}

// parsePublish reads the comma-separated list of io.lanhook.publish.
func parsePublish(value string) ([]Port, []*Error) {
	entries := strings.Split(value, ",")
	if len(entries) > MaxPublish {
		return nil, []*Error{{Reason: fmt.Sprintf("there are at most %d entries, this has %d", MaxPublish, len(entries))}}
	}
	var ports []Port
	var errs []*Error
	for i, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			errs = append(errs, &Error{Reason: fmt.Sprintf("entry %d is empty", i+1), hint: "is there a comma too many?"})
			continue
		}
		p, why, hint := parsePort(entry)
		if why == "" {
			why = p.taken(ports)
		}
		if why != "" {
			errs = append(errs, &Error{Value: entry, Reason: why, hint: hint})
			continue
		}
		ports = append(ports, p)
	}
	return ports, errs
}

// taken is the reason why p cannot be published beside others, "" when it can.
func (p Port) taken(others []Port) string {
	for _, q := range others {
		switch {
		case p == q:
			return "this is in the list already"
		case p.clashes(q):
			return "the host's port is taken by " + q.String() + " already"
		}
	}
	return ""
}

// clashes says whether the two want the same port of the host. One without an address, or with the unspecified one,
// takes the port of all addresses of the families that it serves.
func (p Port) clashes(q Port) bool {
	switch {
	case p.Host == 0, q.Host == 0, p.Protocol != q.Protocol:
		return false
	case int(p.Host)+p.Count <= int(q.Host), int(q.Host)+q.Count <= int(p.Host):
		return false
	case !p.Addr.IsValid(), !q.Addr.IsValid():
		return true
	case p.Addr.Is4() != q.Addr.Is4():
		return false
	}
	return p.Addr == q.Addr || p.Addr.IsUnspecified() || q.Addr.IsUnspecified()
}

// parsePort reads one entry: [[ADDRESS:][PORTS]:]PORTS[/PROTOCOL], the four forms of Docker's --publish.
func parsePort(entry string) (p Port, why, hint string) {
	rest, proto, ok := strings.Cut(entry, "/")
	if ok {
		if err := p.Protocol.UnmarshalText([]byte(proto)); err != nil {
			return Port{}, err.Error(), didYouMean(proto, protocols())
		}
	}
	addr, host, container, why, hint := splitPort(rest)
	if why != "" {
		return Port{}, why, hint
	}
	if addr != "" {
		if p.Addr, why = parseHostIP(addr); why != "" {
			return Port{}, "host address " + quote(addr) + ": " + why, hostHint(addr)
		}
	}
	if p.Container, p.Count, why = parsePorts("container port", container); why != "" {
		return Port{}, why, separators(container)
	}
	if host == "" {
		return p, "", ""
	}
	var count int
	if p.Host, count, why = parsePorts("host port", host); why != "" {
		return Port{}, why, hostPortHint(host)
	}
	switch {
	case count == p.Count:
		return p, "", ""
	case p.Count == 1:
		return Port{}, fmt.Sprintf("%d host ports go to one container port, and which of them would be taken is not to be seen",
			count), "name one host port, or none to have a free one chosen"
	}
	return Port{}, fmt.Sprintf("the ranges of host and container differ in length: %d and %d", count, p.Count), ""
}

// hostHint is what helps where another word stands in the place of the host's address.
func hostHint(addr string) string {
	if addr == "localhost" {
		return "write 127.0.0.1"
	}
	if _, _, why := parsePorts("", addr); why == "" {
		return "entries are separated by commas"
	}
	return ""
}

// hostPortHint is what helps where there is no host port. Docker takes 0 for any.
func hostPortHint(port string) string {
	if port == "0" {
		return "leave it out to have a free one chosen"
	}
	return separators(port)
}

// separators is what helps where two entries were run together.
func separators(port string) string {
	if strings.ContainsAny(port, " ;") {
		return "entries are separated by commas"
	}
	return ""
}

// splitPort takes apart what comes before the protocol. An empty addr or host stands for one that was not given.
func splitPort(s string) (addr, host, container, why, hint string) {
	bracketed := strings.HasPrefix(s, "[")
	if bracketed {
		end := strings.Index(s, "]")
		if end < 0 || !strings.HasPrefix(s[end+1:], ":") {
			return "", "", "", "an address in brackets is closed by \"]:\"", "such as [2001:db8::1]:8080:80"
		}
		addr, s = s[1:end], s[end+2:]
		if !strings.Contains(addr, ":") {
			return "", "", "", quote(addr) + " in the brackets is not an IPv6 address", ""
		}
	}
	parts := strings.Split(s, ":")
	if !bracketed {
		switch {
		case len(parts) > 3:
			return "", "", "", "there are too many colons", "an IPv6 address is put in brackets: [2001:db8::1]:8080:80"
		case len(parts) == 3 && parts[0] == "":
			return "", "", "", "the host's address is empty", "leave its colon out too"
		case len(parts) == 3:
			addr, parts = parts[0], parts[1:]
		case len(parts) == 2 && strings.Contains(parts[0], "."):
			return "", "", "", "a host's address needs its port, even an empty one", "write " + parts[0] + "::" + parts[1]
		case len(parts) == 2 && parts[0] == "":
			return "", "", "", "the host port is empty", "leave the colon out to have a free one chosen"
		}
	}
	switch {
	case len(parts) == 2:
		return addr, parts[0], parts[1], "", ""
	case bracketed:
		return "", "", "", "the address is followed by PORT:PORT or :PORT", "such as [2001:db8::1]:8080:80 or [2001:db8::1]::80"
	}
	return addr, "", parts[0], "", ""
}

// ParseHostAddress reads the host's address of a published port, without a port. The unspecified one stands for all of
// its family. The error is an [*Error].
func ParseHostAddress(s string) (netip.Addr, error) {
	addr, why := parseHostIP(s)
	if why != "" {
		return netip.Addr{}, &Error{Field: "address", Value: s, Reason: why}
	}
	return addr, nil
}

// linkLocal is why a link-local address of IPv6 is of no use where packets are forwarded: routers pass none on that
// have one in them (RFC 4291 section 2.5.6).
const linkLocal = "nothing is forwarded from or to a link-local address"

// parseHostIP reads the host's address; why is "" when it is one.
func parseHostIP(s string) (addr netip.Addr, why string) {
	addr, why = parseAnyIP(s)
	switch {
	case why != "":
		return netip.Addr{}, why
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, "the host cannot have a multicast or broadcast address"
	case addr.Is6() && addr.IsLinkLocalUnicast():
		return netip.Addr{}, linkLocal
	}
	return addr, ""
}

// ParseTranslated reads an address of the host that stands for a container's as a whole, in one direction or the other:
// neither unspecified, multicast, loopback nor, of IPv6, link-local. The error is an [*Error].
func ParseTranslated(s string) (netip.Addr, error) {
	addr, why := parseTranslated(s)
	if why != "" {
		return netip.Addr{}, &Error{Field: "address", Value: s, Reason: why}
	}
	return addr, nil
}

func parseTranslated(s string) (addr netip.Addr, why string) {
	addr, why = parseIP(s)
	switch {
	case why != "":
		return netip.Addr{}, why
	case addr.IsLoopback():
		return netip.Addr{}, "a loopback address is the host's alone"
	case addr.Is6() && addr.IsLinkLocalUnicast():
		return netip.Addr{}, linkLocal
	}
	return addr, ""
}

// parsePorts reads one port or a range of them.
func parsePorts(what, s string) (first uint16, count int, why string) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	for _, n := range []string{from, to} {
		if _, ok := number(n, 1, 65535); !ok {
			return 0, 0, what + " " + quote(n) + ": a port is a number from 1 to 65535"
		}
	}
	low, _ := number(from, 1, 65535)
	high, _ := number(to, 1, 65535)
	if low > high {
		return 0, 0, what + "s " + quote(s) + ": the range ends before it begins"
	}
	return uint16(low), high - low + 1, "" //nolint:gosec // At most 65535 by what was checked.
}
