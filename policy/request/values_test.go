package request_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/policy/request"
)

func TestParseRoute(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for in, want := range map[string]request.Route{
		"10.0.0.0/8":                     {Dst: prefix("10.0.0.0/8")},
		"10.0.0.0/8 via 192.0.2.1":       {Dst: prefix("10.0.0.0/8"), Via: addr("192.0.2.1")},
		"0.0.0.0/0 via 192.0.2.1 onlink": {Dst: prefix("0.0.0.0/0"), Via: addr("192.0.2.1"), OnLink: true},
		"10.0.0.1/32 metric 5":           {Dst: prefix("10.0.0.1/32"), Metric: 5},
		"224.0.0.0/4":                    {Dst: prefix("224.0.0.0/4")},
		"fd00::/8 via fe80::1 table 100": {Dst: prefix("fd00::/8"), Via: addr("fe80::1"), Table: 100},
		"10.0.0.0/8 scope 200 src 10.0.0.1": {
			Dst: prefix("10.0.0.0/8"), Scope: 200, Src: addr("10.0.0.1"),
		},
		"blackhole 10.0.0.0/8":                    {Type: request.Blackhole, Dst: prefix("10.0.0.0/8")},
		"unreachable ::/0 metric 4278198272":      {},
		"unreachable ::/0 metric 2147483647":      {Type: request.Unreachable, Dst: prefix("::/0"), Metric: 2147483647},
		"prohibit fd00::/64 table 7":              {Type: request.Prohibit, Dst: prefix("fd00::/64"), Table: 7},
		"::ffff:10.0.0.0/104 via ::ffff:10.0.0.1": {Dst: prefix("10.0.0.0/8"), Via: addr("10.0.0.1")},
		"": {},
	} {
		t.Run(in, func(t *testing.T) {
			got, err := request.ParseRoute(in)
			if (err != nil) != (want == request.Route{}) || got != want {
				t.Fatalf("ParseRoute = %+v, %v, want %+v", got, err, want)
			}
			if err != nil {
				return
			}
			if again, err := request.ParseRoute(got.String()); err != nil || again != got {
				t.Errorf("ParseRoute(%q) = %+v, %v", got, again, err)
			}
		})
	}
}

// TestJSON holds the form in which routes and sysctls lie in records.
func TestJSON(t *testing.T) {
	type record struct {
		Routes    []request.Route    `json:"routes"`
		Sysctls   []request.Sysctl   `json:"sysctls"`
		Protocols []request.Protocol `json:"protocols"`
	}
	in := record{Protocols: []request.Protocol{request.TCP, request.UDP, request.SCTP}}
	for _, s := range []string{
		"10.0.0.0/8", "blackhole fd00::/64 metric 5", "10.0.0.0/8 via 192.0.2.1 table 7 scope 200 src 10.0.0.1 onlink",
	} {
		r, err := request.ParseRoute(s)
		if err != nil {
			t.Fatal(err)
		}
		in.Routes = append(in.Routes, r)
	}
	in.Sysctls = []request.Sysctl{{Key: "net.ipv4.conf.IFNAME.forwarding", Value: "1"}}
	data, err := json.MarshalIndent(in, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "routes": [
  {
   "dst": "10.0.0.0/8"
  },
  {
   "type": "blackhole",
   "dst": "fd00::/64",
   "metric": 5
  },
  {
   "dst": "10.0.0.0/8",
   "via": "192.0.2.1",
   "table": 7,
   "scope": 200,
   "src": "10.0.0.1",
   "onlink": true
  }
 ],
 "sysctls": [
  {
   "key": "net.ipv4.conf.IFNAME.forwarding",
   "value": "1"
  }
 ],
 "protocols": [
  "tcp",
  "udp",
  "sctp"
 ]
}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("Marshal (-want +got):\n%s", diff)
	}
	var out record
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out, byValue()); diff != "" {
		t.Errorf("Unmarshal (-want +got):\n%s", diff)
	}
}

// TestNoSuchValue takes numbers and words that are none of the constants, as a damaged record may have them.
func TestNoSuchValue(t *testing.T) {
	if data, err := json.Marshal(request.RouteType(4)); err == nil {
		t.Errorf("a route type of 4 is written as %s", data)
	}
	if data, err := json.Marshal(request.Protocol(3)); err == nil {
		t.Errorf("a protocol of 3 is written as %s", data)
	}
	var r request.RouteType
	if err := r.UnmarshalText([]byte("local")); err == nil || !strings.Contains(err.Error(), `"local"`) {
		t.Errorf("the route type local is read as %v, %v", r, err)
	}
	var p request.Protocol
	if err := p.UnmarshalText([]byte("icmp")); err == nil || !strings.Contains(err.Error(), `"icmp"`) {
		t.Errorf("the protocol icmp is read as %v, %v", p, err)
	}
	if got := request.RouteType(9).String() + ", " + request.Protocol(9).String(); got != "route type 9, protocol 9" {
		t.Errorf("String = %s", got)
	}
}

// TestExported holds that the parsers of single values tell the kind and the value, and no annotation.
func TestExported(t *testing.T) {
	for name, test := range map[string]struct {
		parse     func(string) (string, error)
		good, out string
		bad, say  string
	}{
		"route": {
			func(s string) (string, error) { r, err := request.ParseRoute(s); return r.String(), err },
			"unicast 10.0.0.0/8 metric 0", "10.0.0.0/8",
			"10.0.0.1/8", `route "10.0.0.1/8": host bits are set in 10.0.0.1/8; the network is 10.0.0.0/8`,
		},
		"sysctl": {
			func(s string) (string, error) { r, err := request.ParseSysctl(s); return r.String(), err },
			"net.ipv4.conf.IFNAME.x = 1 2", "net.ipv4.conf.IFNAME.x=1 2",
			"net.ipv4.IFNAME.x", `sysctl "net.ipv4.IFNAME.x": this is not KEY=VALUE`,
		},
		"mac": {
			func(s string) (string, error) { r, err := request.ParseMAC(s); return r.String(), err },
			"02-42-C0-A8-01-E6", "02:42:c0:a8:01:e6",
			"00:00:00:00:00:00", `mac "00:00:00:00:00:00": the MAC address is zero`,
		},
		"interface name": {
			func(s string) (string, error) { return s, request.CheckIfName(s) },
			"eth0", "eth0",
			"eth/0", `interface name "eth/0": the name of an interface cannot have a "/"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := test.parse(test.good); err != nil || got != test.out {
				t.Errorf("%q = %q, %v, want %q", test.good, got, err, test.out)
			}
			if _, err := test.parse(test.bad); err == nil || err.Error() != test.say {
				t.Errorf("%q = %v, want %s", test.bad, err, test.say)
			}
		})
	}
}
