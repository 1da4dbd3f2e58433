package policy

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"*", "a/b:c", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "ab", false},
		{"web-*", "web-", true},
		{"web-*", "web-1/2", true},
		{"web-*", "xweb-1", false},
		{"web-*", "web", false},
		{"*.slice", "a.slice", true},
		{"*.slice", "a.slice/b", false},
		{"a*b*c", "abbbc", true},
		{"a*b*c", "acb", false},
		{"*ab", "aab", true},
		{"*aab*", "aaab", true},
		{"**", "", true},
		{"a**b", "ab", true},
		{"02:42:*", "02:42:c0:a8:01:e6", true},
		{"02:42:*", "02:43:42:00:00:00", false},
		{"02:42:??:*", "02:42:c0:a8:01:e6", true},
		{`a\x2d*`, `a\x2db`, true},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{"A", "a", false},
		{"a", "a*", false},
		{"a\n*", "a\nb", true},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

// TestGlobAgainstRegexp compares with regular expressions that mean the same, on short texts of few letters, where
// every way to go wrong is near.
func TestGlobAgainstRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(letters string) string {
		b := make([]byte, r.IntN(8))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	matched := 0
	for range 20000 {
		p, s := word("ab*?"), word("ab")
		re := regexp.MustCompile(`^(?s:` + strings.NewReplacer("*", ".*", "?", ".").Replace(p) + `)$`)
		got := glob(p, s)
		if got != re.MatchString(s) {
			t.Fatalf("glob(%q, %q) = %v, want %v", p, s, got, !got)
		}
		if got {
			matched++
		}
	}
	if matched < 1000 {
		t.Errorf("only %d of the patterns matched: the test tests nothing", matched)
	}
}

// TestGlobTime gives the pattern and text that take longest: with a retry of every star this would not end.
func TestGlobTime(t *testing.T) {
	if glob(strings.Repeat("*a", 500)+"b", strings.Repeat("a", 8192)) {
		t.Error("it matched")
	}
}

// TestPrefixes: each prefix lies in the range, they follow each other without a gap, and no two neighbours could be one.
func TestPrefixes(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"10.0.0.0/24", "10.0.0.0/24"},
		{"10.0.0.7", "10.0.0.7/32"},
		{"10.0.0.1-10.0.0.6", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32"},
		{"10.0.0.0-10.0.0.255", "10.0.0.0/24"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"255.255.255.254-255.255.255.255", "255.255.255.254/31"},
		{"255.255.255.253-255.255.255.255", "255.255.255.253/32 255.255.255.254/31"},
		{"::/0", "::/0"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"},
		{"2001:db8::1-2001:db8::4", "2001:db8::1/128 2001:db8::2/127 2001:db8::4/128"},
	} {
		r, err := ipam.ParseRange(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(words(prefixes(r)), " "); got != tt.want {
			t.Errorf("prefixes(%s) = %s, want %s", tt.in, got, tt.want)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := byte(r.IntN(256)), byte(r.IntN(256))
		rg := ipam.Range{From: netip.AddrFrom4([4]byte{10, 0, 0, min(a, b)}), To: netip.AddrFrom4([4]byte{10, 0, 0, max(a, b)})}
		got := prefixes(rg)
		for i := range 256 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			in := slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Contains(addr) })
			if in != rg.Contains(addr) {
				t.Fatalf("prefixes(%s) = %v: %s is in it: %v", rg, got, addr, in)
			}
		}
	}
}

// TestText: every value comes back from its text, the zero value is "", and nothing else is read or written.
func TestText(t *testing.T) {
	type all struct {
		Driver Driver
		Mode   Mode
		MAC    MACPolicy
		IPAM   IPAM
		Gate   GatewayMode
	}
	for _, v := range []all{
		{},
		{Macvlan, ModeBridge, MACStable, IPAMLocal, 0},
		{Bridge, ModePrivate, MACRandom, IPAMStatic, GatewayNAT},
		{Bridge, ModeVEPA, MACFromIP, IPAMNone, GatewayRouted},
		{Bridge, ModePassthru, MACFromIP, IPAMNone, GatewayIsolated},
		{Bridge, ModeSource, MACFromIP, IPAMNone, GatewayIsolated},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got all
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", data, diff)
		}
	}
	if got := ModeVEPA.String() + " " + Bridge.String() + " " + MACFromIP.String() + " " + IPAMNone.String(); got != "vepa bridge from-ip none" {
		t.Errorf("String gives %s", got)
	}
	if got := Mode(9).String(); got != "invalid(9)" {
		t.Errorf("String of no mode = %s", got)
	}
	for _, bad := range []any{Driver(6), Mode(9), Flag(4), VLANProtocol(3), MACPolicy(5), IPAM(4), GatewayMode(4)} {
		if data, err := json.Marshal(bad); err == nil {
			t.Errorf("%T: marshalled as %s", bad, data)
		}
	}
	var d Driver
	for _, text := range []string{"Bridge", "vxlan", "invalid(6)", " "} {
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText took %q", text)
		}
	}
}

// TestSchema: what the reference says of each key is there, and no key of this version is also one of a later.
func TestSchema(t *testing.T) {
	checkSchema(t, fileSchema(), nil)
	checkSchema(t, networkSchema(), laterNetworkKeys())
	checkSchema(t, parentSchema(), nil)
	checkSchema(t, deviceSchema(), nil)
	checkSchema(t, subnetSchema(), nil)
	checkSchema(t, ruleSchema(), nil)
	checkSchema(t, matchSchema(), nil)
	checkSchema(t, spellOutSchema(), nil)
}

func checkSchema[T any](t *testing.T, schema []field[T], laters []later) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range schema {
		if f.name == "" || f.typ == "" || f.doc == "" || f.set == nil {
			t.Errorf("key %q: it has no name, type, meaning or reader", f.name)
		}
		if seen[f.name] {
			t.Errorf("key %s is there twice", f.name)
		}
		seen[f.name] = true
	}
	for _, l := range laters {
		if seen[l.name] {
			t.Errorf("key %s is both of this version and of a later one, or there twice", l.name)
		}
		seen[l.name] = true
	}
}
