package request_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanhook/lanhook/policy/request"
)

func byValue() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestParse holds the requests as values, where the golden files hold their text.
func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		want        request.Request
	}{
		"nothing": {},
		"a network": {
			map[string]string{"io.lanhook.network": "lan"},
			request.Request{Attachments: []request.Attachment{
				{Key: "io.lanhook.network", IfName: "eth0", Network: "lan"},
			}},
		},
		"all fields": {
			map[string]string{
				"io.lanhook.network": "lan,ip=192.168.1.230,ip=fd00::5/64,mac=d0:ee:6a:1d:3c:62,gateway=192.168.1.1," +
					"default-route=50,route=blackhole 10.0.0.0/8 metric 4,mtu=1400,sysctl=net.ipv4.conf.IFNAME.forwarding=1",
			},
			request.Request{Attachments: []request.Attachment{{
				Key: "io.lanhook.network", IfName: "eth0", Network: "lan",
				IPs: []request.Address{
					{Addr: netip.MustParseAddr("192.168.1.230"), Bits: -1},
					{Addr: netip.MustParseAddr("fd00::5"), Bits: 64},
				},
				MAC:          mac(t, "d0:ee:6a:1d:3c:62"),
				Gateways:     []netip.Addr{netip.MustParseAddr("192.168.1.1")},
				DefaultRoute: request.DefaultRoute{Set: true, Want: true, Metric: 50},
				Routes: []request.Route{
					{Type: request.Blackhole, Dst: netip.MustParsePrefix("10.0.0.0/8"), Metric: 4},
				},
				MTU:     1400,
				Sysctls: []request.Sysctl{{Key: "net.ipv4.conf.IFNAME.forwarding", Value: "1"}},
			}}},
		},
		"no default route": {
			map[string]string{"io.lanhook.network.eth1": "lan,default-route=false"},
			request.Request{Attachments: []request.Attachment{{
				Key: "io.lanhook.network.eth1", IfName: "eth1", Network: "lan",
				DefaultRoute: request.DefaultRoute{Set: true},
			}}},
		},
		"spelled out": {
			map[string]string{"io.lanhook.network.eth1": "driver=macvlan,parent=ens192,mode=private"},
			request.Request{Attachments: []request.Attachment{{
				Key: "io.lanhook.network.eth1", IfName: "eth1",
				Link: &request.Link{Driver: "macvlan", Mode: "private", Parent: "ens192"},
			}}},
		},
		"PP-07 PP-21 ports": {
			map[string]string{
				"io.lanhook.network": "a",
				"io.lanhook.publish": "80,0.0.0.0:81:81/udp,[::ffff:127.0.0.1]::82-84/sctp",
			},
			request.Request{
				Attachments: []request.Attachment{{Key: "io.lanhook.network", IfName: "eth0", Network: "a"}},
				Publish: []request.Port{
					{Container: 80, Count: 1},
					{Addr: netip.IPv4Unspecified(), Host: 81, Container: 81, Count: 1, Protocol: request.UDP},
					{Addr: netip.MustParseAddr("127.0.0.1"), Container: 82, Count: 3, Protocol: request.SCTP},
				},
			},
		},
		"for a shim": {
			map[string]string{
				"io.lanhook.name": "web", "io.lanhook.netns": "host", "io.lanhook.hostname": "web",
				"io.lanhook.dns": "::ffff:192.0.2.53", "io.lanhook.dns-search": "a.example,b.example",
				"io.lanhook.dns-option": "ndots:1", "io.lanhook.add-host": "db=192.0.2.9",
			},
			request.Request{
				Name: "web", NetNS: "host", Hostname: "web",
				DNS:       []netip.Addr{netip.MustParseAddr("192.0.2.53")},
				DNSSearch: []string{"a.example", "b.example"}, DNSOption: []string{"ndots:1"},
				AddHost: []string{"db:192.0.2.9"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := request.Parse(test.annotations)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, byValue()); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseForDocker is Docker's eth0 and default route, which are left to Docker unless they are asked for by name.
func TestParseForDocker(t *testing.T) {
	got, err := request.ParseFor(request.Docker, map[string]string{
		"io.lanhook.network":      "lan,ip=192.0.2.9",
		"io.lanhook.network.eth0": "lan,default-route=true",
		"io.lanhook.network.eth1": "lan",
		"io.lanhook.network.eth2": "lan,default-route=50",
	})
	if err != nil {
		t.Fatal(err)
	}
	type open struct {
		IfName       string
		DefaultRoute request.DefaultRoute
	}
	var opens []open
	for _, a := range got.Attachments {
		opens = append(opens, open{a.IfName, a.DefaultRoute})
	}
	want := []open{
		{"lan0", request.DefaultRoute{Set: true}},
		{"eth0", request.DefaultRoute{Set: true, Want: true}},
		{"eth1", request.DefaultRoute{Set: true}},
		{"eth2", request.DefaultRoute{Set: true, Want: true, Metric: 50}},
	}
	if diff := cmp.Diff(want, opens); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = request.ParseFor(request.Docker, map[string]string{
		"io.lanhook.network": "lan", "io.lanhook.network.lan0": "lan",
	})
	if text := "io.lanhook.network asks for the interface lan0 too"; err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
	others := map[string]string{"io.lanhook.network": "lan", "io.lanhook.network.lan0": "lan"}
	plain, err := request.Parse(others)
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"podman", "containerd", "cri-o", "dockerd"} {
		got, err := request.ParseFor(engine, others)
		if diff := cmp.Diff(plain, got, byValue()); err != nil || diff != "" {
			t.Errorf("%s: error %v (-unknown +%s):\n%s", engine, err, engine, diff)
		}
	}
}

// many makes n texts of a form that takes a number from 1 on.
func many(n int, form string) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(form, i+1)
	}
	return strings.Join(texts, ",")
}

// TestLimits takes each limit as it is and one more.
func TestLimits(t *testing.T) {
	attachments := func(n int) map[string]string {
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprintf("io.lanhook.network.eth%d", i)] = "lan"
		}
		return all
	}
	network := func(value string) map[string]string { return map[string]string{"io.lanhook.network": value} }
	for name, test := range map[string]struct {
		limit int
		make  func(n int) map[string]string
		say   string
	}{
		"attachments": {
			request.MaxAttachments, attachments, "io.lanhook.network.eth9: a container can have at most 16 attachments",
		},
		"addresses": {
			request.MaxAddresses, func(n int) map[string]string { return network("lan," + many(n, "ip=10.0.0.%d")) },
			"at most 16 addresses",
		},
		"routes": {
			request.MaxRoutes, func(n int) map[string]string { return network("lan," + many(n, "route=10.%d.0.0/16")) },
			"at most 32 routes",
		},
		"sysctls": {
			request.MaxSysctls,
			func(n int) map[string]string { return network("lan," + many(n, "sysctl=net.ipv4.conf.IFNAME.x%d=1")) },
			"at most 32 sysctls",
		},
		"publish": {
			request.MaxPublish,
			func(n int) map[string]string {
				return map[string]string{"io.lanhook.network": "lan", "io.lanhook.publish": many(n, "%d")}
			},
			"at most 64 entries",
		},
		"list": {
			request.MaxList, func(n int) map[string]string { return map[string]string{"io.lanhook.dns": many(n, "10.0.0.%d")} },
			"at most 16 entries",
		},
		"value": {
			request.MaxValue, func(n int) map[string]string { return network("lan" + strings.Repeat(" ", n-3)) },
			"the value has 8193 bytes, at most 8192 are taken",
		},
		"workload": {
			128, func(n int) map[string]string { return map[string]string{"io.lanhook.name": strings.Repeat("a", n)} },
			"1 to 128 letters",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := request.Parse(test.make(test.limit)); err != nil {
				t.Errorf("Parse of %d = %v", test.limit, err)
			}
			_, err := request.Parse(test.make(test.limit + 1))
			if err == nil || !strings.Contains(err.Error(), test.say) || len(request.Errors(err)) != 1 {
				t.Errorf("Parse of %d = %v, want one mistake with %q", test.limit+1, err, test.say)
			}
		})
	}
}

func TestTooManyAnnotations(t *testing.T) {
	all := map[string]string{"com.example": "x"}
	for i := range request.MaxAnnotations + 1 {
		all[fmt.Sprintf("io.lanhook.x%d", i)] = "x"
	}
	_, err := request.Parse(all)
	const want = "annotation io.lanhook.*: a container can have at most 64 of these, this has 65"
	if err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
}

func TestTooManyFields(t *testing.T) {
	_, err := request.Parse(map[string]string{"io.lanhook.network": "lan" + strings.Repeat(",x=1", 200)})
	if err == nil || len(request.Errors(err)) != 1 || !strings.Contains(err.Error(), "at most 128 fields, this has 201") {
		t.Errorf("Parse = %v, want one mistake", err)
	}
}

// TestTooManyMistakes holds that a hostile value cannot fill a log.
func TestTooManyMistakes(t *testing.T) {
	_, err := request.Parse(map[string]string{"io.lanhook.network": "lan" + strings.Repeat(",x=1", 100)})
	if err == nil {
		t.Fatal("Parse gave no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != request.MaxErrors+1 || lines[request.MaxErrors] != "annotations io.lanhook.*: 84 more mistakes" {
		t.Errorf("Parse tells %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if n := len(request.Errors(err)); n != request.MaxErrors {
		t.Errorf("Errors gives %d", n)
	}
}

// TestForeignText holds that what a container writes cannot break a line of a message or make it long.
func TestForeignText(t *testing.T) {
	evil := "\n\x1b[2J\u202e" + strings.Repeat("é", 4000)
	for name, annotations := range map[string]map[string]string{
		"key":       {"io.lanhook." + evil: "x"},
		"interface": {"io.lanhook.network." + evil: "lan"},
		"value":     {"io.lanhook.name": evil},
		"CSV":       {"io.lanhook.network": evil},
		"field":     {"io.lanhook.network": `{"` + strings.Repeat("é", 4000) + `":1}`},
		"not UTF-8": {"io.lanhook.network": "lan,ip=\xff"},
		"JSON":      {"io.lanhook.network": `{"name":"\n\u001b\u202e"}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := request.Parse(annotations)
			if err == nil {
				t.Fatal("Parse gave no error")
			}
			if s := err.Error(); len(s) > 512 || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x1b\u202e") {
				t.Errorf("the message is %q", s)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	if got := request.Errors(nil); got != nil {
		t.Errorf("Errors(nil) = %v", got)
	}
	if got := request.Errors(errors.New("other")); got != nil {
		t.Errorf("Errors of a foreign error = %v", got)
	}
	_, err := request.Parse(map[string]string{"io.lanhook.network": "lan,gatway=10.0.0.1,mtu=1"})
	got := request.Errors(fmt.Errorf("attach: %w", err))
	if len(got) != 2 || got[0].Value != "gatway" || got[0].Hint() != "did you mean gateway?" || got[1].Field != "mtu" {
		t.Errorf("Errors = %v", got)
	}
}

func TestEmpty(t *testing.T) {
	for name, test := range map[string]struct {
		request request.Request
		empty   bool
		shim    []string
	}{
		"zero":       {request.Request{}, true, nil},
		"name alone": {request.Request{Name: "web"}, true, nil},
		"attachment": {request.Request{Attachments: make([]request.Attachment, 1)}, false, nil},
		"publish":    {request.Request{Publish: make([]request.Port, 1)}, false, nil},
		"netns":      {request.Request{NetNS: "none"}, false, []string{"io.lanhook.netns"}},
		"hostname":   {request.Request{Hostname: "a"}, false, []string{"io.lanhook.hostname"}},
		"lists": {
			request.Request{
				DNS: make([]netip.Addr, 1), DNSSearch: []string{"."}, DNSOption: []string{"rotate"}, AddHost: []string{"a:::1"},
			},
			false,
			[]string{"io.lanhook.dns", "io.lanhook.dns-search", "io.lanhook.dns-option", "io.lanhook.add-host"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.request.Empty(); got != test.empty {
				t.Errorf("Empty = %t", got)
			}
			if diff := cmp.Diff(test.shim, test.request.ShimOnly()); diff != "" {
				t.Errorf("ShimOnly (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTables holds that Parse knows each key and field of the tables, and uses it.
func TestTables(t *testing.T) {
	values := map[string]string{
		"name": "lan", "ip": "10.0.0.5/24", "mac": "02:42:c0:a8:01:e6", "gateway": "10.0.0.1", "default-route": "true",
		"route": "10.1.0.0/16", "mtu": "1400", "ipv6": "slaac", "dnat": "192.0.2.7", "sysctl": "net.ipv4.conf.IFNAME.forwarding=1",
		"driver": "macvlan", "mode": "vepa", "flag": "private", "parent": "ens192", "vlan": "50", "bridge": "br0",
	}
	for _, f := range request.Fields() {
		t.Run(f.Name, func(t *testing.T) {
			base := map[string]string{"name": "lan"}
			switch {
			case f.Name == "bridge":
				base = map[string]string{"driver": "bridge"}
			case f.Name == "flag":
				base = map[string]string{"driver": "ipvlan", "parent": "ens192"}
			case f.SpellOut:
				base = map[string]string{"driver": "macvlan", "parent": "ens192"}
			}
			base[f.Name] = values[f.Name]
			data, err := json.Marshal(base)
			if err != nil {
				t.Fatal(err)
			}
			r, err := request.Parse(map[string]string{"io.lanhook.network": string(data)})
			switch {
			case err != nil:
				t.Error(err)
			case !strings.Contains(r.Attachments[0].String(), values[f.Name]):
				t.Errorf("the field is lost in %s", r.Attachments[0])
			}
			delete(values, f.Name)
		})
	}
	if len(values) > 0 {
		t.Errorf("these fields are not in the table: %v", slices.Sorted(maps.Keys(values)))
	}
	for _, k := range request.Keys() {
		_, err := request.Parse(map[string]string{strings.ReplaceAll(k.Name, "IFNAME", "eth1"): "~"})
		if err == nil || strings.Contains(err.Error(), "no such annotation") {
			t.Errorf("Parse of %s=~ is %v, want an error about its value", k.Name, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"gateway", "ip", "mac", "mtu", "mode", "macvlan"}
	for word, want := range map[string]string{
		"gatway": "gateway", "gatewya": "gateway", "GATEWAY": "gateway", "gatwy": "gateway", "i": "ip", "pi": "ip",
		"mca": "mac", "mod": "mode", "mavclan": "macvlan", "zzz": "", "": "", "x": "", strings.Repeat("m", 65): "",
		"frobnicate": "", "mau": "mac",
	} {
		t.Run(word, func(t *testing.T) {
			got, ok := request.Nearest(word, known)
			if got != want || ok != (want != "") {
				t.Errorf("Nearest = %q, %t, want %q", got, ok, want)
			}
		})
	}
	if got, ok := request.Nearest("ip", nil); ok {
		t.Errorf("Nearest of nothing = %q", got)
	}
}
