//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func TestSysctlPath(t *testing.T) {
	for name, c := range map[string]struct{ key, link, want string }{
		"BR-35 placeholder":         {"net.ipv6.conf.IFNAME.accept_ra", "eth0", "/proc/sys/net/ipv6/conf/eth0/accept_ra"},
		"a name with dots":          {"net.ipv4.conf.IFNAME.rp_filter", "lan.50.x", "/proc/sys/net/ipv4/conf/lan.50.x/rp_filter"},
		"a link called IFNAME":      {"net.ipv4.conf.IFNAME.rp_filter", "IFNAME", "/proc/sys/net/ipv4/conf/IFNAME/rp_filter"},
		"no placeholder":            {"net.ipv4.ip_forward", "eth0", "/proc/sys/net/ipv4/ip_forward"},
		"BR-40 slash in the name":   {"net.ipv4.conf.IFNAME.rp_filter", "eth/0", ""},
		"slash in the key":          {"net.ipv4/../../kernel.x", "eth0", ""},
		"name that leads upwards":   {"net.ipv4.conf.IFNAME.rp_filter", "..", ""},
		"name that leads nowhere":   {"net.ipv4.conf.IFNAME.rp_filter", ".", ""},
		"no name":                   {"net.ipv4.conf.IFNAME.rp_filter", "", ""},
		"two dots":                  {"net..ipv4.ip_forward", "eth0", ""},
		"not of the network":        {"kernel.core_pattern", "eth0", ""},
		"nothing but net":           {"net", "eth0", ""},
		"empty":                     {"", "eth0", ""},
		"placeholder within a word": {"net.ipv4.conf.xIFNAME.rp_filter", "..", "/proc/sys/net/ipv4/conf/xIFNAME/rp_filter"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sysctlPath(c.key, c.link)
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("path %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func FuzzSysctlPath(f *testing.F) {
	f.Add("net.ipv4.conf.IFNAME.rp_filter", "eth0")
	f.Add("net.ipv4.conf.IFNAME...", "../..")
	f.Add("net.IFNAME", "a/b")
	f.Fuzz(func(t *testing.T, key, link string) {
		path, err := sysctlPath(key, link)
		if err != nil {
			return
		}
		below, ok := strings.CutPrefix(path, "/proc/sys/net/")
		if !ok || below == "" {
			t.Fatalf("%q is not below net", path)
		}
		for part := range strings.SplitSeq(below, "/") {
			if part == "" || part == "." || part == ".." {
				t.Fatalf("%q has the part %q", path, part)
			}
		}
	})
}

func TestParseNamespace(t *testing.T) {
	for in, want := range map[string]uint64{
		"net:[4026531840]": 4026531840, "mnt:[4026531840]": 0, "net:[]": 0, "net:[x]": 0, "net:[1": 0, "": 0, "net:[-1]": 0,
	} {
		if got, ok := parseNamespace(in); got != want || ok != (want != 0) {
			t.Errorf("%q is %d %v, want %d", in, got, ok, want)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/run/netns/a`: "/run/netns/a", `/a\040b`: "/a b", `/a\011\012\134`: "/a\t\n\\", `/a\04`: `/a\04`, `/a\999`: `/a\999`,
		`\134040`: `\040`, "": "",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	acked := fmt.Errorf("%w: %s", unix.EINVAL, "mtu greater than device maximum")
	for name, c := range map[string]struct {
		err        error
		text, hint string
	}{
		"extended acknowledgement is kept": {
			failed(acked, "add bridge %s", "lan0"), "add bridge lan0: invalid argument: mtu greater than device maximum", "",
		},
		"no right": {
			failed(unix.EPERM, "add bridge lan0"),
			"add bridge lan0: needs CAP_NET_ADMIN in the host's user namespace: operation not permitted", "run as root",
		},
		"no module": {
			failed(unix.EOPNOTSUPP, "add bridge lan0"),
			"add bridge lan0: the kernel lacks this feature or its module: operation not supported", "lanhook doctor",
		},
		"no module of a kind": {
			noKind(fmt.Errorf("%w: %s", unix.EOPNOTSUPP, "Unknown device type"), kindIPVLAN, "add ipvlan a to b"),
			"add ipvlan a to b: the kernel has no links of kind ipvlan: operation not supported: Unknown device type",
			"modprobe ipvlan; where there is none, use a kernel with CONFIG_IPVLAN,",
		},
		"no module of VLANs": {
			noKind(unix.EOPNOTSUPP, kindVLAN, "add vlan a to b"),
			"add vlan a to b: the kernel has no links of kind vlan: operation not supported",
			"modprobe 8021q; where there is none, use a kernel with CONFIG_VLAN_8021Q,",
		},
		"another error about a kind": {
			noKind(unix.EINVAL, kindVLAN, "add vlan a to b"), "add vlan a to b: invalid argument", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if !errors.As(c.err, &e) || e.Error() != c.text {
				t.Fatalf("error %v, want %s", c.err, c.text)
			}
			if !strings.Contains(e.Hint(), c.hint) || (e.Hint() == "") != (c.hint == "") {
				t.Errorf("hint %q, want %q in it", e.Hint(), c.hint)
			}
			if strings.Contains(e.Error()+e.Hint(), "\n") {
				t.Errorf("more than a line: %q", e.Error()+e.Hint())
			}
		})
	}
	if err := failed(nil, "do nothing"); err != nil {
		t.Errorf("error %v from none", err)
	}
}

func TestRouteText(t *testing.T) {
	for want, r := range map[string]request.Route{
		"route 10.0.0.0/8 via 10.1.0.1 on eth0":            {Dst: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("10.1.0.1")},
		"route blackhole fd00::/8 on eth0 in table 5000":   {Type: request.Blackhole, Dst: netip.MustParsePrefix("fd00::/8"), Table: 5000},
		"route unreachable 10.0.0.0/8 on eth0 in table 7":  {Type: request.Unreachable, Dst: netip.MustParsePrefix("10.0.0.0/8"), Table: 7},
		"route prohibit 10.0.0.0/8 on eth0 in table 70000": {Type: request.Prohibit, Dst: netip.MustParsePrefix("10.0.0.0/8"), Table: 70000},
	} {
		if got := routeText(r, "eth0"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRouteOfTwoFamilies(t *testing.T) {
	for name, r := range map[string]request.Route{
		"gateway": {Dst: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("fd00::1")},
		"source":  {Dst: netip.MustParsePrefix("fd00::/8"), Src: netip.MustParseAddr("10.0.0.1")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := routeParts(r, 0); err == nil || !strings.Contains(err.Error(), "one family") {
				t.Errorf("error %v, want a refusal", err)
			}
		})
	}
}

func TestModes(t *testing.T) {
	seen := map[uint32]bool{}
	for m := policy.ModeBridge; m <= policy.ModeSource; m++ {
		v := kernelMode(m)
		if v == 0 || seen[v] || modeOf(v) != m {
			t.Errorf("mode %d is %d in the kernel and %d again", m, v, modeOf(v))
		}
		seen[v] = true
	}
	if kernelMode(0) != 0 || modeOf(3) != 0 {
		t.Error("there is a number for a mode that is none")
	}
}
