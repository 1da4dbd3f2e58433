package guest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/policy"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestResolv(t *testing.T) {
	attached := policy.Guest{Attached: true}
	const resolved = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch home.example\n"
	for _, test := range []struct {
		name     string
		guest    policy.Guest
		host     string
		resolved string
		want     string
	}{
		{
			"S4-5 the host's", attached,
			"# made by hand\n; so is this\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions ndots:2\n", "",
			"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions ndots:2\n",
		},
		{"S4-5 loopback is left out", attached, "nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1\n", "", "nameserver 192.0.2.1\n"},
		{
			"S4-5 systemd-resolved's own list", attached, resolved, "nameserver 192.0.2.7\nsearch lan.example\n",
			"nameserver 192.0.2.7\nsearch lan.example\n",
		},
		{"its list is not asked without need", attached, "nameserver 192.0.2.1\n", "nameserver 192.0.2.7\n", "nameserver 192.0.2.1\n"},
		{"its list has only loopback too", attached, resolved, "nameserver 127.0.0.54\n", ""},
		{"nothing is left", attached, "nameserver 127.0.0.1\nsearch a.example\n", "", ""},
		{"no file", attached, "", "nameserver 192.0.2.7\n", ""},
		{"a zone", attached, "nameserver fe80::1%eth0\nnameserver fe80::2\nnameserver 192.0.2.1\n", "", "nameserver 192.0.2.1\n"},
		{
			"the last list, tabs, repetitions, nonsense", attached,
			"nameserver\t192.0.2.1\nnameserver 192.0.2.1\nnameserver nobody\nnameserver\nsearch a.example\ndomain b.example c.example\noptions rotate\noptions rotate ndots:3\nsortlist 192.0.2.0\n", "",
			"nameserver 192.0.2.1\nsearch b.example\noptions rotate ndots:3\n",
		},
		{
			"no more than resolvers take", attached,
			"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nsearch a b c d e f g\n", "",
			"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch a b c d e f\n",
		},
		{
			"a list of many bytes", attached,
			"nameserver 192.0.2.1\nsearch " + strings.Repeat("a", 200) + " " + strings.Repeat("b", 60) + " c\n", "",
			"nameserver 192.0.2.1\nsearch " + strings.Repeat("a", 200) + "\n",
		},
		{
			"S4-6 asked for",
			policy.Guest{DNS: addrs("192.0.2.9", "::1"), DNSSearch: []string{"x.example"}, DNSOption: []string{"ndots:5"}},
			"nameserver 192.0.2.1\nsearch a.example\noptions rotate\n", "",
			"nameserver 192.0.2.9\nnameserver ::1\nsearch x.example\noptions ndots:5\n",
		},
		{
			"S4-6 only the servers: the rest is the host's, but for trust",
			policy.Guest{DNS: addrs("192.0.2.9")},
			resolved, "",
			"nameserver 192.0.2.9\nsearch home.example\noptions edns0\n",
		},
		{"no search list", policy.Guest{Attached: true, DNSSearch: []string{"."}}, "nameserver 192.0.2.1\nsearch a.example\n", "", "nameserver 192.0.2.1\n"},
		{"a search list without a server", policy.Guest{DNSSearch: []string{"x.example"}}, "", "", "search x.example\n"},
		{
			"in the host's namespace loopback is the host",
			policy.Guest{NetNS: policy.NetNSHost, DNSOption: []string{"ndots:1"}},
			resolved, "",
			"nameserver 127.0.0.53\nsearch home.example\noptions ndots:1\n",
		},
		{"CRLF", attached, "nameserver 192.0.2.1\r\nsearch a.example\r\n", "", "nameserver 192.0.2.1\nsearch a.example\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := resolver(test.guest, Host{Resolv: []byte(test.host), Resolved: []byte(test.resolved)})
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (got == nil) != (test.want == "") {
				t.Errorf("there is a file: %t", got != nil)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for _, test := range []struct {
		name   string
		guest  policy.Guest
		host   string
		own    Entry
		others []Entry
		want   string
	}{
		{
			"own name and addresses",
			policy.Guest{},
			"",
			Entry{addrs("192.0.2.5", "2001:db8::5"), []string{"web.example", "web"}},
			nil,
			localhost + "192.0.2.5\tweb.example web\n2001:db8::5\tweb.example web\n",
		},
		{"a name and no address", policy.Guest{}, "", Entry{Names: []string{"web"}}, nil, localhost + "127.0.1.1\tweb\n"},
		{"no name", policy.Guest{}, "", Entry{Addrs: addrs("192.0.2.5")}, nil, localhost},
		{
			"S4-6 lines asked for, before all others",
			policy.Guest{Hosts: []policy.Host{{Name: "db", Addr: addrs("192.0.2.7")[0]}}},
			"",
			Entry{addrs("192.0.2.5"), []string{"web"}},
			[]Entry{{addrs("192.0.2.8"), []string{"db", "db-1"}}},
			localhost + "192.0.2.7\tdb\n192.0.2.5\tweb\n192.0.2.8\tdb-1\n",
		},
		{
			"the first who has a name keeps it",
			policy.Guest{},
			"",
			Entry{addrs("192.0.2.5"), []string{"web"}},
			[]Entry{
				{addrs("192.0.2.6"), []string{"db"}},
				{addrs("192.0.2.7"), []string{"DB"}},
				{addrs("192.0.2.8"), []string{"Web", "w2"}},
				{addrs("192.0.2.9"), []string{"localhost", "ip6-allnodes"}},
			},
			localhost + "192.0.2.5\tweb\n192.0.2.6\tdb\n192.0.2.8\tw2\n",
		},
		{
			"the host's lines in its namespace",
			policy.Guest{NetNS: policy.NetNSHost},
			"127.0.0.1 localhost\n127.0.1.1 box # web\n\n",
			Entry{Names: []string{"web"}},
			nil,
			"127.0.0.1 localhost\n127.0.1.1 box # web\n127.0.1.1\tweb\n",
		},
		{"a host without a hosts file", policy.Guest{NetNS: policy.NetNSHost}, "", Entry{}, nil, localhost},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Hosts(base(test.guest, Host{Hosts: []byte(test.host)}), test.own, test.others)
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, test := range []struct {
		workload, id string
		want         []string
	}{
		{"web", "web", []string{"web"}},
		{"web", id, []string{"web", "0123456789ab"}},
		{id, id, []string{"0123456789ab"}},
		{"shop/web_1", "c1", []string{"web_1", "c1"}},
		{"shop/web/nginx", id, []string{"nginx", "0123456789ab"}},
		{"web.example", "c1", []string{"web.example", "c1"}},
		{"lan:web", "c1", []string{"c1"}},
		{"192.0.2.1", "10", nil},
		{"web 1\n192.0.2.1 bank", "-c", nil},
		{"", "", nil},
		{".", "..", nil},
		{"localhost", "LocalHost", nil},
		{"shop/localhost.localdomain", "db.localhost", nil},
		{"ip6-loopback", "localhost4.localdomain4", nil},
		{"localhosts", "c1", []string{"localhosts", "c1"}},
	} {
		t.Run(test.workload, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Names(test.workload, test.id)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name  string
		guest policy.Guest
		spec  Spec
		want  []string
		kept  []string
	}{
		{"nothing is asked for", policy.Guest{}, Spec{Hostname: "web"}, nil, nil},
		{"an interface", policy.Guest{Attached: true}, Spec{}, []string{HostsPath, ResolvPath}, nil},
		{"S4-6 a host name", policy.Guest{Hostname: "web"}, Spec{}, []string{HostnamePath, HostsPath}, nil},
		{"S4-6 a name server", policy.Guest{DNS: addrs("192.0.2.9")}, Spec{}, []string{ResolvPath}, nil},
		{"S4-6 a line", policy.Guest{Hosts: []policy.Host{{Name: "db", Addr: addrs("192.0.2.7")[0]}}}, Spec{}, []string{HostsPath}, nil},
		{
			"S4-6 the engine's stay",
			policy.Guest{Attached: true, Hostname: "web", DNS: addrs("192.0.2.9")},
			Spec{Mounts: []string{"/proc", "/etc/hosts", "etc//resolv.conf"}},
			[]string{HostnamePath},
			[]string{HostsPath, ResolvPath},
		},
		{"what nobody asked for goes in no foreign folder", policy.Guest{Attached: true}, Spec{Mounts: []string{"/etc/"}}, nil, nil},
		{
			"what is asked for does",
			policy.Guest{Attached: true, DNS: addrs("192.0.2.9")},
			Spec{Mounts: []string{"/etc"}},
			[]string{ResolvPath},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Decide(test.guest, test.spec, Host{Resolv: []byte("nameserver 192.0.2.1\n")})
			var got []string
			for _, m := range f.mounts("/x") {
				if !strings.HasPrefix(m.Source, "/x/") {
					t.Errorf("source %s", m.Source)
				}
				got = append(got, m.Destination)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.kept, f.Kept); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if f.Empty() != (len(got) == 0) {
				t.Errorf("empty: %t", f.Empty())
			}
		})
	}
}

func TestOwnNames(t *testing.T) {
	for _, test := range []struct {
		asked, configured string
		want              []string
	}{
		{"web.lan.example", "c1", []string{"web.lan.example", "web"}},
		{"", "c1", []string{"c1"}},
		{"", "c1\n192.0.2.1 bank", nil},
		{"", "", nil},
		{"1.example", "", []string{"1.example"}},
	} {
		if diff := cmp.Diff(test.want, ownNames(test.asked, test.configured)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test, diff)
		}
	}
}

// FuzzResolv: whatever a host's file holds, what comes out is whole lines of known words, is read as it was meant, and
// has no name server that a container cannot ask.
func FuzzResolv(f *testing.F) {
	for _, seed := range []string{
		"nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n", "nameserver fe80::1%eth0", "domain \x00", "search\t.\n;", "options \xff\u0085x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out := resolver(policy.Guest{Attached: true}, Host{Resolv: data, Resolved: data})
		r := ParseResolv(out)
		if len(out) > 0 && len(r.Servers) == 0 || len(r.Servers) > maxServers {
			t.Errorf("%q has %d name servers", out, len(r.Servers))
		}
		if slices.ContainsFunc(r.Servers, func(a netip.Addr) bool { return a.IsLoopback() || a.Zone() != "" }) {
			t.Errorf("%q has a name server that no container reaches", out)
		}
		if again := r.Bytes(); len(out) > 0 && string(again) != string(out) {
			t.Errorf("%q is read as %q", out, again)
		}
	})
}

// FuzzHosts: whatever names there are, each name of another is on one entry only and none stands twice.
func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n", "web", "db")
	f.Add("", "a/b", "B")
	f.Add("192.0.2.1 db # x", "192.0.2.1", "\n")
	f.Fuzz(func(t *testing.T, head, one, two string) {
		others := []Entry{{addrs("192.0.2.1"), Names(one, two)}, {addrs("192.0.2.2"), Names(two, one)}}
		got := Hosts(base(policy.Guest{NetNS: policy.NetNSHost}, Host{Hosts: []byte(head)}), Entry{}, others)
		tail := strings.TrimPrefix(string(got), strings.TrimRight(head, "\n")+"\n")
		if len(head) == 0 {
			tail = strings.TrimPrefix(string(got), localhost)
		}
		seen := map[string]bool{}
		for line := range strings.Lines(tail) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "192.0.2.1" && words[0] != "192.0.2.2" {
				t.Fatalf("line %q", line)
			}
			for _, name := range words[1:] {
				if seen[strings.ToLower(name)] || !isName(name) {
					t.Errorf("name %q in %q", name, tail)
				}
				seen[strings.ToLower(name)] = true
			}
		}
	})
}
