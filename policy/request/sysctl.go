package request

import (
	"slices"
	"strings"
)

// What a sysctl takes at most, in bytes.
const (
	maxSysctlKey   = 128
	maxSysctlValue = 64
)

// ParseSysctl reads "KEY=VALUE". The key lies under net., is dotted, consists of [a-z0-9_-], and has the word IFNAME as
// one whole part between others, so that it can name nothing but a setting of the interface itself; it has no '/', since
// it becomes a path under /proc/sys. The value is 1 to 64 bytes of printable ASCII. The error is an [*Error].
func ParseSysctl(s string) (Sysctl, error) {
	one, e := parseSysctl(s)
	if e != nil {
		return Sysctl{}, e
	}
	return one, nil
}

func parseSysctl(s string) (Sysctl, *Error) {
	key, value, ok := strings.Cut(s, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	e := &Error{Field: "sysctl", Value: s}
	if !ok {
		e.Reason = "this is not KEY=VALUE"
		return Sysctl{}, e
	}
	if e.Reason, e.hint = badSysctlKey(key); e.Reason != "" {
		return Sysctl{}, e
	}
	printable := each(value, func(c byte) bool { return ' ' <= c && c < 0x7f })
	if value == "" || len(value) > maxSysctlValue || !printable {
		e.Reason = "the value is 1 to 64 printable bytes"
		return Sysctl{}, e
	}
	return Sysctl{Key: key, Value: value}, nil
}

// badSysctlKey is the reason why key is not a setting of an interface, "" when it is.
func badSysctlKey(key string) (why, hint string) {
	parts := strings.Split(key, ".")
	count, at := 0, slices.Index(parts, placeholder)
	for _, part := range parts {
		switch {
		case part == placeholder:
			count++
		case part == "":
			return "a part of the key between the dots is empty", ""
		case strings.Contains(part, "/"):
			return "the key has a '/'", "write it with dots"
		case !each(part, func(c byte) bool { return 'a' <= c && c <= 'z' || isDigit(c) || c == '_' || c == '-' }):
			return "the key has other characters than a-z, 0-9, '_', '-' and the word IFNAME as a whole part", ""
		}
	}
	switch {
	case len(key) > maxSysctlKey:
		return "the key has more than 128 bytes", ""
	case parts[0] != "net":
		return "the key does not begin with net.", ""
	case count == 0:
		return "the key does not have the word IFNAME, so it is not a setting of the interface",
			"such as net.ipv4.conf.IFNAME.forwarding"
	case count > 1:
		return "the key has the word IFNAME more than once", ""
	case at == len(parts)-1:
		return "nothing comes behind IFNAME in the key", ""
	}
	return "", ""
}

// String is "KEY=VALUE", as [ParseSysctl] reads it.
func (s Sysctl) String() string { return s.Key + "=" + s.Value }
