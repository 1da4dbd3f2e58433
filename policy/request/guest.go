package request

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// checkWorkload checks the value of io.lanhook.name.
func checkWorkload(s string) *Error {
	in := func(c byte) bool { return isAlnum(c) || strings.IndexByte("._-/:", c) >= 0 }
	if len(s) > 128 || !each(s, in) {
		return &Error{Value: s, Reason: "a workload's name is 1 to 128 letters, digits, '.', '_', '-', '/' or ':'"}
	}
	return nil
}

// checkNetNS checks the value of io.lanhook.netns. A path is never taken from an annotation.
func checkNetNS(s string) *Error {
	const forms = "there are host, none and container:ID"
	id, isContainer := strings.CutPrefix(s, "container:")
	in := func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' }
	switch {
	case s == "host", s == "none":
		return nil
	case isContainer && len(id) <= 128 && id != "" && isAlnum(id[0]) && each(id, in):
		return nil
	case strings.Contains(s, "/"):
		return &Error{Value: s, Reason: "a network namespace is never given by a path; " + forms}
	case isContainer:
		return &Error{Value: s, Reason: "a container's id is 1 to 128 letters, digits, '_', '.' or '-'"}
	}
	return &Error{
		Value: s, Reason: "there is no such network namespace; " + forms,
		hint: didYouMean(s, []string{"host", "none", "container:ID"}),
	}
}

// checkHostname checks the value of io.lanhook.hostname: at most 64 bytes, as the kernel has it (__NEW_UTS_LEN), of
// labels as in RFC 1123 section 2.1.
func checkHostname(s string) *Error {
	if why := badDomain(s, ""); why != "" {
		return &Error{Value: s, Reason: why}
	}
	if len(s) > 64 {
		return &Error{Value: s, Reason: fmt.Sprintf("a host name has at most 64 bytes, this has %d", len(s))}
	}
	return nil
}

// badDomain is the reason why s is not a domain name, "" when it is. Of the bytes in more, a label may have each too.
func badDomain(s, more string) string {
	if len(s) > 253 {
		return "a domain name has at most 253 bytes"
	}
	for label := range strings.SplitSeq(s, ".") {
		in := func(c byte) bool { return isAlnum(c) || c == '-' || strings.IndexByte(more, c) >= 0 }
		switch {
		case label == "":
			return "a label of the name is empty"
		case len(label) > 63:
			return "a label of the name has more than 63 bytes"
		case !each(label, in):
			return "a name has only letters, digits, '-' and dots"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "a label of the name begins or ends with '-'"
		}
	}
	return ""
}

// parseList reads a comma-separated list, each entry of it once.
func parseList[T comparable](value string, parse func(string) (T, string)) ([]T, []*Error) {
	entries := strings.Split(value, ",")
	if len(entries) > MaxList {
		return nil, []*Error{{Reason: fmt.Sprintf("there are at most %d entries, this has %d", MaxList, len(entries))}}
	}
	var list []T
	var errs []*Error
	for i, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			errs = append(errs, &Error{Reason: fmt.Sprintf("entry %d is empty", i+1), hint: "is there a comma too many?"})
			continue
		}
		one, why := parse(entry)
		if why == "" && slices.Contains(list, one) {
			why = "this is in the list already"
		}
		if why != "" {
			errs = append(errs, &Error{Value: entry, Reason: why})
			continue
		}
		list = append(list, one)
	}
	return list, errs
}

func parseDNS(s string) (netip.Addr, string) { return parseIP(s) }

// ParseNameServer reads the address of a name server: one that an interface can have, without a zone. The error is an
// [*Error].
func ParseNameServer(s string) (netip.Addr, error) {
	addr, why := parseDNS(s)
	if why != "" {
		return netip.Addr{}, &Error{Value: s, Reason: why}
	}
	return addr, nil
}

// CheckSearchDomain says why s is no entry of a search list: a domain, or "." for none. The error is an [*Error].
func CheckSearchDomain(s string) error {
	if _, why := parseDNSSearch(s); why != "" {
		return &Error{Value: s, Reason: why}
	}
	return nil
}

func parseDNSSearch(s string) (domain, why string) {
	if s == "." {
		return s, ""
	}
	// Names of services have underscores (RFC 2782).
	return s, badDomain(s, "_")
}

// parseDNSOption reads an option of resolv.conf(5).
func parseDNSOption(s string) (option, why string) {
	in := func(c byte) bool { return 'a' <= c && c <= 'z' || isDigit(c) || strings.IndexByte("_-:.", c) >= 0 }
	if len(s) > 64 || !each(s, in) {
		return "", "an option is a word as in resolv.conf(5), such as ndots:2"
	}
	return s, ""
}

// parseAddHost reads NAME:ADDRESS, or NAME=ADDRESS as Docker takes it too, with an IPv6 address in brackets or not.
func parseAddHost(s string) (line, why string) {
	at := strings.IndexAny(s, ":=")
	if at < 0 {
		return "", "this is not NAME:ADDRESS"
	}
	name, host := s[:at], s[at+1:]
	if why = badDomain(name, "_"); why != "" {
		return "", why
	}
	if host == "host-gateway" {
		return name + ":" + host, ""
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return "", "the bracket of the address is not closed"
		}
	}
	addr, why := parseIP(host)
	if why != "" {
		return "", "address " + quote(host) + ": " + why
	}
	return name + ":" + addr.String(), ""
}
