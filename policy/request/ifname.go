package request

import (
	"fmt"
	"strings"
)

// maxIfName is IFNAMSIZ of the kernel's include/uapi/linux/if.h without the closing zero byte.
const maxIfName = 15

// CheckIfName says why the kernel, or we, would not take name for an interface, nil when it is fine. The rules are
// those of dev_valid_name in the kernel's net/core/dev.c; besides, '%' makes a template of the name there, "all" and
// "default" are refused for the sake of their folders under /proc/sys/net (sysctl_dev_name_is_allowed in
// include/net/ip.h), and only printable ASCII is taken, so that a name looks the same everywhere.
func CheckIfName(name string) error {
	if why := badIfName(name); why != "" {
		return fmt.Errorf("interface name %s: %s", quote(name), why)
	}
	return nil
}

// badIfName is the reason why name is not fit for an interface, "" when it is.
func badIfName(name string) string {
	switch {
	case name == "":
		return "the name of the interface is empty"
	case len(name) > maxIfName:
		return fmt.Sprintf("the name of an interface has at most %d bytes, this has %d", maxIfName, len(name))
	case name == "." || name == "..":
		return "the kernel takes no such name for an interface"
	case name == "lo":
		return "this is the loopback interface"
	case name == "all" || name == "default":
		return "the kernel keeps this name for the settings of all interfaces"
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c <= ' ' || c >= 0x7f:
			return "the name of an interface is printable ASCII without spaces"
		case strings.IndexByte("/:%", c) >= 0:
			return fmt.Sprintf("the name of an interface cannot have a %q", string(c))
		}
	}
	return ""
}

// badName is the reason why s is not fit for the name of a network, "" when it is. Docker's rule for names
// (daemon/names, RestrictedNameChars) with a limit.
func badName(s string) string {
	if len(s) <= 64 && s != "" && isAlnum(s[0]) &&
		each(s, func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' }) {
		return ""
	}
	return "the name of a network is 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit"
}

// compareIfNames orders the names of interfaces as people count them: eth2 comes before eth10.
func compareIfNames(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if !isDigit(x[0]) || !isDigit(y[0]) {
			if x[0] != y[0] {
				return int(x[0]) - int(y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		var m, n string
		m, x = digits(x)
		n, y = digits(y)
		if len(m) != len(n) {
			return len(m) - len(n)
		}
		if c := strings.Compare(m, n); c != 0 {
			return c
		}
	}
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	// The same but for leading zeros.
	return strings.Compare(a, b)
}

// digits are those that s begins with, without leading zeros, and what comes behind them.
func digits(s string) (num, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
