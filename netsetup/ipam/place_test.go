package ipam

import (
	"net/netip"
	"testing"
)

// These values stand in the field: with other ones every workload would get another address. They were
// computed from the description of Place and MAC by another program.
func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts []string
		place uint64
		mac   string
	}{
		{"nothing", nil, 0x5475d23e15fe8fbc, "92:73:10:c2:75:64"},
		{"a workload", []string{"0123456789abcdef", "lan", "web"}, 0x953e025cd06ba09c, "e2:3c:27:15:81:59"},
		{"parts are kept apart", []string{"0123456789abcdef", "lanw", "eb"}, 0x0340d5b0305918ff, "f2:3e:a0:bc:de:23"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Place(tt.parts...); got != tt.place {
				t.Errorf("place %#x, want %#x", got, tt.place)
			}
			if got := MAC(tt.parts...).String(); got != tt.mac {
				t.Errorf("MAC %s, want %s", got, tt.mac)
			}
		})
	}
}

func TestMACIsLocal(t *testing.T) {
	seen := map[string]bool{}
	first := map[byte]bool{}
	for i := range 300 {
		m := MAC("host", "lan", string(rune('a'+i)))
		if len(m) != 6 || m[0]&0x0f != 0x02 {
			t.Fatalf("%s is not a unicast address of the administrator's", m)
		}
		if seen[m.String()] {
			t.Fatalf("%s came twice", m)
		}
		seen[m.String()], first[m[0]] = true, true
	}
	if len(first) != 16 {
		t.Errorf("only %d of 16 first bytes came", len(first))
	}
	if m := MAC("a"); cap(m) != 6 {
		t.Errorf("capacity %d lets a caller append into the hash", cap(m))
	}
}

func TestMACFromIP(t *testing.T) {
	for in, want := range map[string]string{
		"172.17.0.2":        "02:42:ac:11:00:02",
		"::ffff:172.17.0.2": "02:42:ac:11:00:02",
		"fd00::2":           "",
	} {
		if got := MACFromIP(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s gives %q, want %q", in, got, want)
		}
	}
	if got := MACFromIP(netip.Addr{}); got != nil {
		t.Errorf("no address gives %s", got)
	}
}
