package policy

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lanhook/lanhook/policy/request"
)

// TestPublishClash: two entries that have one port only because of the network's bind clash, and those that differ because
// of it do not.
func TestPublishClash(t *testing.T) {
	p, err := Decode([]File{{"policy.toml", []byte(`
version = 1
[network.apps]
driver = "bridge"
bind   = "127.0.0.1"
[[network.apps.subnet]]
subnet = "10.0.0.0/24"
[[rule]]
match    = { id = "*" }
networks = ["*"]
publish  = true
`)}})
	if err != nil {
		t.Fatal(err)
	}
	port := func(addr string, host uint16, count int) request.Port {
		var a netip.Addr
		if addr != "" {
			a = netip.MustParseAddr(addr)
		}
		return request.Port{Addr: a, Host: host, Container: 80, Count: count}
	}
	for _, tt := range []struct {
		name  string
		a, b  request.Port
		clash bool
	}{
		{"the bind's address", port("", 80, 1), port("127.0.0.1", 80, 1), true},
		{"another address", port("", 80, 1), port("192.0.2.1", 80, 1), false},
		{"all addresses", port("", 80, 1), port("0.0.0.0", 80, 1), true},
		{"all addresses first", port("0.0.0.0", 80, 1), port("192.0.2.1", 80, 1), true},
		{"ranges that overlap by one", port("", 80, 3), port("127.0.0.1", 82, 3), true},
		{"ranges that touch", port("", 80, 3), port("127.0.0.1", 83, 3), false},
		{"the last port", port("", 65535, 1), port("", 65535, 1), true},
		{"free ones", port("", 0, 1), port("", 0, 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Decide(request.Request{
				Attachments: []request.Attachment{{Key: "io.lanhook.network", IfName: "eth0", Network: "apps"}},
				Publish:     []request.Port{tt.a, tt.b},
			}, Subject{ID: "c"})
			if tt.clash && (got != nil || err == nil || !strings.Contains(err.Error(), "is taken by "+tt.a.String())) {
				t.Errorf("Decide = %v, %v, want a clash", got, err)
			}
			if !tt.clash && (err != nil || len(got[0].Publish) != 2) {
				t.Errorf("Decide = %v, %v", got, err)
			}
		})
	}
}

// TestClosed: only rules close a network.
func TestClosed(t *testing.T) {
	for _, tt := range []struct {
		n    Network
		want bool
	}{
		{Network{Driver: Bridge, Firewall: true, GatewayMode: GatewayNAT}, false},
		{Network{Driver: Bridge, Firewall: true, GatewayMode: GatewayRouted}, false},
		{Network{Driver: Bridge, Firewall: true, GatewayMode: GatewayIsolated}, true},
		{Network{Driver: Bridge, Firewall: true, GatewayMode: GatewayNAT, Internal: true}, true},
		{Network{Driver: Bridge, Internal: true}, false},
		{Network{Driver: Macvlan, Internal: true}, false},
	} {
		if got := tt.n.Closed(); got != tt.want {
			t.Errorf("Closed of %+v is %t", tt.n, got)
		}
	}
}

// FuzzPublish: whatever is asked, each published port is one that the rule grants, in one family that its interface has,
// and no two of a container are one; and the same question has the same answer.
func FuzzPublish(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "decide", "publish.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	p, err := Decode([]File{{"policy.toml", txtar.Parse(data).Files[0].Data}})
	if err != nil {
		f.Fatal(err)
	}
	for _, publish := range []string{
		"80", "8080:80,8080:80/udp", "80-82,8000-8002:80-82", "192.0.2.1::80,192.0.2.1:81:80", "[::1]:80:80,127.0.0.1:80:80",
		"1-1023:1-1023,1024:1", "0.0.0.0:80:80,[::]:80:80", "[::ffff:127.0.0.1]:8100:80", "8090-8110:90-110", "1-1024:1-1024,9",
	} {
		f.Add("dual", "four", publish, "podman")
		f.Add("bound", "lan", publish, "docker")
		f.Add("driver=bridge,bridge=lh-alone,ip=10.0.0.9/24", "fixed,ip=fd00:27::9,dnat=192.0.2.7", publish, "podman")
	}
	f.Fuzz(func(t *testing.T, first, second, publish, engine string) {
		annotations := map[string]string{
			request.Prefix + "network": first, request.Prefix + "network.eth1": second, request.Prefix + "publish": publish,
		}
		req, err := request.Parse(annotations)
		if err != nil {
			return
		}
		subject := Subject{ID: "c", Engine: engine, Annotations: annotations}
		got, err := p.Decide(req, subject)
		again, errAgain := p.Decide(req, subject)
		if diff := cmp.Diff(got, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
			cmpopts.IgnoreFields(Attachment{}, "Network")); diff != "" || (err == nil) != (errAgain == nil) {
			t.Errorf("Decide differs from itself: %v, %v\n%s", err, errAgain, diff)
		}
		if err != nil {
			var denied *DeniedError
			if got != nil || !errors.As(err, &denied) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Decide = %v, %v", got, err)
			}
			return
		}
		checkPublished(t, p.match(subject), req, got)
	})
}

// checkPublished looks at each single port, without the code that decided.
func checkPublished(t *testing.T, r *Rule, req request.Request, all []Attachment) {
	t.Helper()
	granted := func(protocol request.Protocol, port int) bool {
		return slices.ContainsFunc(r.Publish, func(g PortRange) bool {
			return g.Protocol == protocol && int(g.From) <= port && port <= int(g.To)
		})
	}
	type key struct {
		protocol request.Protocol
		port     int
		six      bool
	}
	taken := map[key][]netip.Addr{}
	asked, dnat, total := map[int]bool{}, map[netip.Addr]bool{}, 0
	for _, a := range all {
		for _, addr := range a.DNAT {
			if dnat[addr] || !a.Network.Firewall || a.Network.Closed() {
				t.Errorf("%s has all of %s", a.IfName, addr)
			}
			dnat[addr] = true
		}
		for _, p := range a.Publish {
			asked[p.Asked] = true
			total += p.Count
			if !a.Network.Firewall || a.Network.Closed() || !p.Addr.IsValid() || p.Count < 1 || (p.Host == 0) != (len(p.Free) > 0) {
				t.Errorf("%s publishes %+v", a.IfName, p)
			}
			for _, g := range p.Free {
				if !granted(g.Protocol, int(g.From)) || !granted(g.Protocol, int(g.To)) || int(g.To-g.From)+1 < p.Count {
					t.Errorf("%s may take one of %v", a.IfName, g)
				}
			}
			for port := int(p.Host); p.Host != 0 && port < int(p.Host)+p.Count; port++ {
				k := key{p.Protocol, port, p.Addr.Is6()}
				for _, o := range taken[k] {
					if o == p.Addr || o.IsUnspecified() || p.Addr.IsUnspecified() {
						t.Errorf("port %d/%s of %s is taken by %s", port, p.Protocol, p.Addr, o)
					}
				}
				taken[k] = append(taken[k], p.Addr)
				if !granted(p.Protocol, port) {
					t.Errorf("port %d/%s is not granted", port, p.Protocol)
				}
			}
		}
	}
	if len(asked) != len(req.Publish) || total > 2*request.MaxPorts {
		t.Errorf("%d of %d entries are published, with %d ports", len(asked), len(req.Publish), total)
	}
}
