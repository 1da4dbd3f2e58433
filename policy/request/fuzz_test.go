package request_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/policy/request"
)

// FuzzParse holds of any annotation that Parse comes back, gives the same twice, tells its mistakes one a line, and
// that what it took for an attachment is the same again when it is written and read once more.
func FuzzParse(f *testing.F) {
	for _, seed := range [][2]string{
		{"network", "lan,ip=192.168.1.230,mac=d0:ee:6a:1d:3c:62"},
		{"network.eth1", "driver=macvlan,parent=ens192,mode=vepa,ip=192.168.50.9/24,gateway=192.168.50.1"},
		{"network", `{"name":"lan","ip":["10.0.0.5","fd00::5/64"],"default-route":true,"mtu":1400}`},
		{"network", `lan,"sysctl=net.ipv4.conf.IFNAME.x=a,""b""",route=blackhole 10.0.0.0/8 metric 7`},
		{"network", "lan,route=10.0.0.0/8 via 192.0.2.1 table 254 scope 200 src 10.0.0.1 onlink"},
		{"network", "driver=ipvlan,parent=eth0.50,mode=l3s,flag=vepa,vlan=100.20,ip=10.0.0.5/24"},
		{"network", `{"driver":"vlan","parent":"eth0","vlan":50}`},
		{"network.eth2", "driver=bridge,bridge=br0,vlan=4094"},
		{"network", "lan,ip=::ffff:10.0.0.5/120,ip=fe80::1%eth0"},
		{"publish", "80,8888:80,192.0.2.1::80,[::1]:8080-8082:80-82/udp"},
		{"name", "k8s://ns/web"},
		{"netns", "container:web"},
		{"hostname", "web.example"},
		{"dns", "192.0.2.53,fd00::53"},
		{"dns-search", "."},
		{"dns-option", "ndots:2"},
		{"add-host", "a=[fd00::1]"},
		{"netork", "lan"},
		{"network.", ""},
		{"network", "{"},
		{"network", `{"ip":[1,[2]]}`},
		{"network", "\xff\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		annotations := map[string]string{request.Prefix + key: value}
		if key == "publish" {
			annotations["io.lanhook.network"] = "lan"
		}
		r, err := request.Parse(annotations)
		again, errAgain := request.Parse(annotations)
		if diff := cmp.Diff(r, again, byValue()); diff != "" {
			t.Errorf("Parse differs from itself:\n%s", diff)
		}
		if err != nil {
			if errAgain == nil || err.Error() != errAgain.Error() {
				t.Errorf("Parse = %v, then %v", err, errAgain)
			}
			if diff := cmp.Diff(request.Request{}, r, byValue()); diff != "" {
				t.Errorf("a refused request is not empty:\n%s", diff)
			}
			return
		}
		written := maps.Clone(annotations)
		for _, a := range r.Attachments {
			written[a.Key] = a.String()
		}
		for i, p := range r.Publish {
			if i == 0 {
				written["io.lanhook.publish"] = p.String()
				continue
			}
			written["io.lanhook.publish"] += "," + p.String()
		}
		read, err := request.Parse(written)
		if err != nil {
			t.Fatalf("Parse of what was written, %q: %v", written, err)
		}
		if diff := cmp.Diff(r, read, byValue()); diff != "" {
			t.Errorf("%q is another request than %q:\n%s", written, annotations, diff)
		}
	})
}

// FuzzParseRoute holds that a route that is taken is the same again when it is written and read once more.
func FuzzParseRoute(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.0/8 via 192.0.2.1 metric 5", "blackhole fd00::/64", "10.0.0.0/8 onlink via 10.0.0.1 table 254 scope 9",
		"::ffff:10.0.0.0/104 src ::ffff:10.0.0.1", "unicast ::/0 via fe80::1", "0.0.0.0/0 metric 0", "10.0.0.1/8",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := request.ParseRoute(s)
		if err != nil {
			if r != (request.Route{}) {
				t.Errorf("a refused route is %+v", r)
			}
			return
		}
		if r.Dst != r.Dst.Masked() {
			t.Errorf("host bits are set in %v", r.Dst)
		}
		again, err := request.ParseRoute(r.String())
		if err != nil || again != r {
			t.Errorf("ParseRoute(%q) = %+v, %v, want %+v", r, again, err, r)
		}
	})
}

// FuzzPublish holds of any list of ports that is taken: each entry lies within the ports there are, no two are the same
// port of one host address, and each is the same again when it is written and read once more.
func FuzzPublish(f *testing.F) {
	for _, seed := range []string{
		"80", "8888:80", "192.0.2.1::80", "192.0.2.1:8888:80", "80/udp,80/sctp,80/TCP", "8080-8082:80-82", "[::1]:8080:80",
		"[::ffff:192.0.2.1]:80:80,192.0.2.1:80:81", "0.0.0.0:80:80,[::]:80:80,127.0.0.1:80:80", "65535:1,65534-65535:1-2",
		"1-65535:1-65535", "0:80", "80:65536", "82-80", "fe80::1", "[fe80::1]:80:80", "1:2:3:4", "80/", "abcd:80", " 80 , 81",
		"[]:80:80", "[::1]80:80", "::80", ":80", "80:", "255.255.255.255:80:80", "127.0.0.256:80:80", "08:80", "+8:80",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		annotations := map[string]string{"io.lanhook.network": "lan", "io.lanhook.publish": value}
		r, err := request.Parse(annotations)
		if err != nil {
			return
		}
		written := ""
		for i, p := range r.Publish {
			if p.Count < 1 || p.Container == 0 || int(p.Container)+p.Count-1 > 65535 || int(p.Host)+p.Count-1 > 65535 ||
				p.Addr.Is4In6() || p.Addr.IsMulticast() {
				t.Errorf("entry %+v is impossible", p)
			}
			for _, q := range r.Publish[:i] {
				same := !p.Addr.IsValid() || !q.Addr.IsValid() || p.Addr == q.Addr
				if p.Host != 0 && same && p.Protocol == q.Protocol && p.Host == q.Host {
					t.Errorf("%s and %s are one port", p, q)
				}
			}
			if i > 0 {
				written += ","
			}
			written += p.String()
		}
		annotations["io.lanhook.publish"] = written
		again, err := request.Parse(annotations)
		if err != nil {
			t.Fatalf("Parse of %q, written of %q: %v", written, value, err)
		}
		if diff := cmp.Diff(r.Publish, again.Publish, byValue()); diff != "" {
			t.Errorf("%q is another list than %q:\n%s", written, value, diff)
		}
	})
}
