package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/policy/request"
)

// TestDecideWithoutParse asks what request.Parse lets nobody ask: Decide relies on no one else's checks where the kernel
// would be told what a container wrote.
func TestDecideWithoutParse(t *testing.T) {
	p, err := Decode([]File{{"policy.toml", []byte(`
version = 1
[network.lan]
driver = "bridge"
[[network.lan.subnet]]
subnet = "10.0.0.0/24"
[[rule]]
match     = { id = "*" }
networks  = ["*"]
ip        = true
dnat      = true
publish   = true
spell-out = { drivers = ["macvlan", "bridge", "ipvlan", "vlan"], parents = ["*"], vlans = [7], modes = ["bridge", "vepa", "l2"] }
`)}})
	if err != nil {
		t.Fatal(err)
	}
	addr := func(s string, bits int) []request.Address {
		return []request.Address{{Addr: netip.MustParseAddr(s), Bits: bits}}
	}
	macvlan := func(l request.Link) *request.Link { l.Driver = "macvlan"; return &l }
	for _, tt := range []struct {
		name string
		a    request.Attachment
		want string
	}{
		{"IP-19 no prefix length", request.Attachment{Link: macvlan(request.Link{Parent: "a"}), IPs: addr("10.0.0.1", -1)}, "has no prefix length"},
		{"a length of 0", request.Attachment{Link: macvlan(request.Link{Parent: "a"}), IPs: addr("10.0.0.1", 0)}, "impossible prefix length"},
		{"a length of 33", request.Attachment{Link: macvlan(request.Link{Parent: "a"}), IPs: addr("10.0.0.1", 33)}, "impossible prefix length"},
		{"VL-07 a VLAN", request.Attachment{Link: macvlan(request.Link{Parent: "a", VLAN: []int{5000}})}, "does not allow VLAN 5000 of a"},
		{"VL-07 three VLANs", request.Attachment{Link: macvlan(request.Link{Parent: "a", VLAN: []int{1, 2, 3}})}, "one or two VLAN tags"},
		{"a flag for a macvlan", request.Attachment{Link: macvlan(request.Link{Parent: "a", Flag: "private"})}, "has no flag"},
		{"a mode of ipvlan", request.Attachment{Link: macvlan(request.Link{Parent: "a", Mode: "l2"})}, "has no mode"},
		{"two VLANs of a port", request.Attachment{Link: &request.Link{Driver: "bridge", Bridge: "b", VLAN: []int{1, 2}}}, "is in one VLAN"},
		{"a VLAN without its tag", request.Attachment{Link: &request.Link{Driver: "vlan", Parent: "a"}}, "vlan is missing"},
		{"a mode for a VLAN", request.Attachment{Link: &request.Link{Driver: "vlan", Parent: "a", VLAN: []int{7}, Mode: "l2"}}, "has no mode"},
		{"a flag that is none", request.Attachment{Link: &request.Link{Driver: "ipvlan", Parent: "a", Flag: "foo"}}, "there is no flag"},
		{"a device", request.Attachment{Link: &request.Link{Driver: "host-device", Parent: "a"}}, "does not allow the driver"},
		{"a sub-interface of lanhook's", request.Attachment{Link: macvlan(request.Link{Parent: "lhvabcdefghij"})}, "lanhook's own"},
		{"no parent", request.Attachment{Link: macvlan(request.Link{})}, "parent is missing"},
		{"a bridge for a macvlan", request.Attachment{Link: macvlan(request.Link{Parent: "a", Bridge: "b"})}, "has no bridge"},
		{"a bad parent", request.Attachment{Link: macvlan(request.Link{Parent: "../a"})}, "interface name"},
		{"MV-05 mode foo", request.Attachment{Link: macvlan(request.Link{Parent: "a", Mode: "foo"})}, "has no mode"},
		{"a driver that is none", request.Attachment{Link: &request.Link{Driver: "overlay"}}, "does not allow the driver"},
		{"no bridge", request.Attachment{Link: &request.Link{Driver: "bridge"}}, "bridge is missing"},
		{"a parent for a bridge", request.Attachment{Link: &request.Link{Driver: "bridge", Parent: "a"}}, "no mode, flag and parent"},
		{"neither network nor link", request.Attachment{}, "the policy has no network"},
		{"a network's name over several lines", request.Attachment{Network: "a\nb"}, "the policy has no network"},
		{"its own address as gateway", request.Attachment{
			Network: "lan", IPs: addr("10.0.0.9", -1), Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.9")},
		}, "the container's own address"},
		{"the host's loopback address as a whole", request.Attachment{
			Network: "lan", DNAT: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		}, "cannot give this address away"},
		{"all of the host's addresses as a whole", request.Attachment{
			Network: "lan", DNAT: []netip.Addr{netip.IPv4Unspecified()},
		}, "cannot give this address away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.a.Key, tt.a.IfName = "io.lanhook.network", "eth0"
			got, err := p.Decide(request.Request{Attachments: []request.Attachment{tt.a}}, Subject{ID: "c"})
			if got != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Decide = %v, %v, want a refusal with %q on one line", got, err, tt.want)
			}
		})
	}
	for name, port := range map[string]request.Port{
		"port 0 of the container":              {Host: 80, Count: 1},
		"a port of the container above 65535":  {Host: 80, Container: 65535, Count: 2},
		"a port of the host above 65535":       {Host: 65535, Container: 80, Count: 2},
		"a protocol that there is not":         {Host: 80, Container: 80, Count: 1, Protocol: request.SCTP + 1},
		"more ports than a container can have": {Host: 80, Container: 80, Count: request.MaxPorts + 1},
	} {
		t.Run(name, func(t *testing.T) {
			lan := request.Attachment{Key: "io.lanhook.network", IfName: "eth0", Network: "lan"}
			got, err := p.Decide(request.Request{
				Attachments: []request.Attachment{lan}, Publish: []request.Port{port},
			}, Subject{ID: "c"})
			if got != nil || err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("Decide = %v, %v, want a refusal", got, err)
			}
		})
	}
	t.Run("ports without an attachment", func(t *testing.T) {
		got, err := p.Decide(request.Request{Publish: []request.Port{{Container: 80, Count: 1}}}, Subject{ID: "c"})
		if got != nil || err == nil {
			t.Errorf("Decide = %v, %v", got, err)
		}
	})
}

// TestOneLine: names that a table can have in quotes come on one line, and a file that is not UTF-8 is none.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"version = 1\n[network.\"a\\nb\\u001b[2J\"]\n[network.\"a\\nb\\u001b[2J\"]\n": "p:3:10: a?b?[2J is already defined in line 2",
		"version = 1\nname = \"caf\xe9\"\n":                                           "p:2:12: the file is not UTF-8",
	} {
		_, err := Decode([]File{{"p", []byte(text)}})
		all, _ := errors.AsType[Errors](err)
		if len(all) != 1 || all[0].Error() != want {
			t.Errorf("Decode: %v, want %s alone", err, want)
		}
	}
}

// TestLimits: what would make the checks take long is refused before they are done.
func TestLimits(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const lan = "version = 1\n[network.lan]\ndriver = \"bridge\"\n"
	for _, tt := range []struct{ name, text, want string }{
		{"entries", lan + "sysctl = [" + many(maxEntries+1, `"%d",`) + "]\n", "has 1025 entries, 1024 are the most"},
		{"subnets", lan + many(maxEntries+1, "[[network.lan.subnet]]\nsubnet = \"fd00:%x::/64\"\n"), "has 1025 entries, 1024 are the most"},
		{"networks", "version = 1\n" + many(maxNetworks+1, "[network.n%d]\ndriver = \"bridge\"\n"), "more than 4096 networks"},
		{"rules", "version = 1\n" + many(maxRules+1, "[[rule]]\nmatch = { id = \"%d\" }\n"), "more than 4096 rules"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]File{{"p", []byte(tt.text)}})
			all, _ := errors.AsType[Errors](err)
			if len(all) != 1 || !strings.Contains(all[0].Msg, tt.want) {
				t.Errorf("Decode: %v, want one error with %q", err, tt.want)
			}
		})
	}
}
