package request

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxMetric is the highest metric and table that we take. The kernel's go to 32 bits; no more than fits into an int
// on every machine is of use.
const maxMetric = math.MaxInt32

// The values of the kernel's enum rt_class_t and enum rt_scope_t, include/uapi/linux/rtnetlink.h.
const (
	tableMain = 254
	scopeLink = 253
	scopeHost = 254
)

// routeTypes are the words of ip-route(8) at the index of their RouteType.
func routeTypes() []string { return []string{"unicast", "blackhole", "unreachable", "prohibit"} }

// String is the word of ip-route(8).
func (t RouteType) String() string {
	if words := routeTypes(); int(t) < len(words) {
		return words[t]
	}
	return "route type " + strconv.Itoa(int(t))
}

// MarshalText writes what String returns. The error is about a value that is none of the constants.
func (t RouteType) MarshalText() ([]byte, error) {
	if int(t) >= len(routeTypes()) {
		return nil, fmt.Errorf("%v: there is no such type", t)
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads a word of ip-route(8).
func (t *RouteType) UnmarshalText(text []byte) error {
	i := slices.Index(routeTypes(), string(text))
	if i < 0 {
		return fmt.Errorf("route type %s: there are %s", quote(string(text)), strings.Join(routeTypes(), ", "))
	}
	// Within the words, of which there are four.
	*t = RouteType(i) //nolint:gosec // The index of a list of four fits.
	return nil
}

// ParseRoute reads a route in the form that [Route] tells; the words behind the destination may come in any order, each
// once. The type unicast may be written too. The error is an [*Error].
func ParseRoute(s string) (Route, error) {
	r, e := parseRoute(s)
	if e != nil {
		return Route{}, e
	}
	return r, nil
}

func parseRoute(s string) (Route, *Error) {
	var r Route
	words := strings.Fields(s)
	if len(words) > 0 && slices.Contains(routeTypes(), words[0]) {
		if err := r.Type.UnmarshalText([]byte(words[0])); err != nil {
			return Route{}, &Error{Field: "route", Value: s, Reason: err.Error()}
		}
		words = words[1:]
	}
	e := &Error{Field: "route", Value: s}
	if len(words) == 0 {
		e.Reason = "the route has no destination"
		return Route{}, e
	}
	if e.Reason, e.hint = r.setDst(words[0]); e.Reason != "" {
		return Route{}, e
	}
	if e.Reason, e.hint = r.setWords(words[1:]); e.Reason != "" {
		return Route{}, e
	}
	if e.Reason = r.impossible(); e.Reason != "" {
		return Route{}, e
	}
	return r, nil
}

func (r *Route) setDst(word string) (why, hint string) {
	if word == "default" {
		return `"default" does not tell the family`, "write 0.0.0.0/0 or ::/0, or use default-route"
	}
	host, length, ok := strings.Cut(word, "/")
	addr, why := parseAnyIP(host)
	if why != "" {
		near := didYouMean(word, routeTypes())
		return "the destination " + quote(word) + " is not a network in CIDR form", near
	}
	if !ok {
		return "the destination has no prefix length", "write " + netip.PrefixFrom(addr, addr.BitLen()).String()
	}
	bits, why := parseBits(host, length, addr, 0)
	if why != "" {
		return why, ""
	}
	dst := netip.PrefixFrom(addr, bits)
	if right := dst.Masked(); right != dst {
		return "host bits are set in " + dst.String() + "; the network is " + right.String(), "write " + right.String()
	}
	r.Dst = dst
	return "", ""
}

// setWords reads what comes behind the destination.
func (r *Route) setWords(words []string) (why, hint string) {
	known := []string{"via", "metric", "table", "scope", "src", "onlink"}
	var seen []string
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case !slices.Contains(known, word):
			hint := didYouMean(word, known)
			if hint == "" {
				hint = "there are " + strings.Join(known, ", ")
			}
			return "there is no word " + quote(word) + " for a route", hint
		case slices.Contains(seen, word):
			return "the word " + word + " is there twice", ""
		case word == "onlink":
			r.OnLink = true
		case len(words) == 0:
			return "nothing comes behind " + word, ""
		default:
			if why := r.set(word, words[0]); why != "" {
				return why, ""
			}
			words = words[1:]
		}
		seen = append(seen, word)
	}
	return "", ""
}

func (r *Route) set(word, value string) (why string) {
	var ok bool
	switch word {
	case "via":
		r.Via, why = parseIP(value)
	case "src":
		r.Src, why = parseIP(value)
	case "metric":
		if r.Metric, ok = number(value, 0, maxMetric); !ok {
			why = fmt.Sprintf("a metric is a number from 0 to %d", maxMetric)
		}
	case "table":
		if r.Table, ok = number(value, 1, maxMetric); !ok {
			why = fmt.Sprintf("a table is a number from 1 to %d", maxMetric)
		}
		if r.Table == tableMain {
			r.Table = 0
		}
	case "scope":
		// The kernel takes no scope beyond RT_SCOPE_HOST (fib_create_info in net/ipv4/fib_semantics.c), and 0 is what a
		// route with a gateway has anyway.
		if r.Scope, ok = number(value, 1, scopeHost); !ok {
			why = fmt.Sprintf("a scope is a number from 1 to %d, such as %d for link", scopeHost, scopeLink)
		}
	}
	if why != "" {
		return word + " " + quote(value) + ": " + why
	}
	return ""
}

// impossible is the reason why the parts of a route cannot go together, "" when they can.
func (r *Route) impossible() string {
	v4 := r.Dst.Addr().Is4()
	if r.Type != Unicast {
		nowhere := r.Type.String() + " means that nothing is sent, so there is no "
		switch {
		case r.Via.IsValid():
			return nowhere + "via"
		case r.OnLink:
			return nowhere + "onlink"
		case r.Src.IsValid():
			return nowhere + "src"
		}
	}
	switch {
	case r.Via.IsValid() && r.Via.Is4() != v4:
		return "destination and via are of different families"
	case r.Src.IsValid() && r.Src.Is4() != v4:
		return "destination and src are of different families"
	case r.OnLink && !r.Via.IsValid():
		return "onlink says how the gateway is reached, and the route has no via"
	case v4 && r.Via.IsValid() && r.Scope >= scopeLink:
		// fib_check_nh_v4_gw in net/ipv4/fib_semantics.c: the gateway must be nearer than the destination.
		return "the scope says that the destination is on the link, and via that it is behind a gateway"
	}
	return ""
}

// String is the route in the form that [ParseRoute] reads.
func (r Route) String() string {
	var b strings.Builder
	if r.Type != Unicast {
		b.WriteString(r.Type.String() + " ")
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	for _, n := range []struct {
		word  string
		value int
	}{{"metric", r.Metric}, {"table", r.Table}, {"scope", r.Scope}} {
		if n.value != 0 {
			b.WriteString(" " + n.word + " " + strconv.Itoa(n.value))
		}
	}
	if r.Src.IsValid() {
		b.WriteString(" src " + r.Src.String())
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}
