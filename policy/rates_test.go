package policy

import (
	"strings"
	"testing"
)

func TestRateOf(t *testing.T) {
	for s, want := range map[string]uint64{
		"100mbit": 100_000_000, "1gbit": 1_000_000_000, "512kbit": 512_000, "8000bit": 8_000, "1tbit": 1_000_000_000_000,
		"2.5gbit": 2_500_000_000, "1.50Mbit": 1_500_000, "0.008mbit": 8_000, "1000.000000gbit": 1_000_000_000_000,
		"100mbps": 0, "100": 0, "100m": 0, "mbit": 0, "": 0, "100mibit": 0, "1_000kbit": 0, "+1mbit": 0, "1,5mbit": 0,
		" 1mbit": 0, "1mbit ": 0, "7999bit": 0, "1001gbit": 0, "8000.5bit": 0, "1.2.3mbit": 0, "٣mbit": 0, "0mbit": 0,
		"18446744073709551616bit": 0,
	} {
		t.Run(s, func(t *testing.T) {
			got, why, hint := rateOf(s)
			if got != want || (why == "") != (want != 0) || (hint == "") != (want != 0) {
				t.Errorf("rateOf = %d, %q, %q, want %d", got, why, hint, want)
			}
		})
	}
}

func TestBurstOf(t *testing.T) {
	for s, want := range map[string]uint64{
		"64kb": 64 << 10, "2048b": 2048, "1mb": 1 << 20, "1gb": 1 << 30, "1MB": 1 << 20, "1.5kb": 0, "64": 0, "64k": 0,
		"64kbit": 0, "64kib": 0, "1kb": 0, "1025mb": 0, "": 0, "kb": 0, "-64kb": 0,
	} {
		t.Run(s, func(t *testing.T) {
			got, why, hint := burstOf(s)
			if got != want || (why == "") != (want != 0) || (hint == "") != (want != 0) {
				t.Errorf("burstOf = %d, %q, %q, want %d", got, why, hint, want)
			}
		})
	}
}

// TestDefaultBurst: 10 ms of the rate, but never less than one large packet of segments, nor more than the kernel takes.
func TestDefaultBurst(t *testing.T) {
	for bits, want := range map[uint64]uint64{
		minRate: leastDefault, 100_000_000: 125_000, 10_000_000_000: 12_500_000, maxRate: maxBurst,
	} {
		if got := defaultBurst(bits); got != want {
			t.Errorf("defaultBurst(%d) = %d, want %d", bits, got, want)
		}
	}
}

func TestLower(t *testing.T) {
	slow, fast := Rate{1_000_000, 9_000}, Rate{2_000_000, 3_000}
	for _, tt := range []struct{ a, b, want Rate }{
		{Rate{}, Rate{}, Rate{}},
		{slow, Rate{}, slow},
		{slow, fast, slow},
		{slow, Rate{1_000_000, 2_048}, Rate{1_000_000, 2_048}},
	} {
		if ab, ba := lower(tt.a, tt.b), lower(tt.b, tt.a); ab != tt.want || ba != tt.want {
			t.Errorf("lower of %v and %v is %v and %v, want %v", tt.a, tt.b, ab, ba, tt.want)
		}
	}
}

// FuzzRates: a rate or burst that is taken lies within its bounds and is the same again when it is written and read once
// more; one that is refused says why, and is nothing.
func FuzzRates(f *testing.F) {
	for _, seed := range []string{
		"100mbit", "1gbit", "512kbit", "2.5Gbit", "10mbps", "1.0005kbit", "00001.50mbit", "1..5mbit", "999tbps", "8000bit",
		"99999999999999999999tbit", "999999999999999.999999999999999tbit", "64kb", "1MB", "9018b", "2048mb", "1.5kb", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []struct {
			read      amount
			text      func(uint64) string
			low, high uint64
		}{{rateOf, rateText, minRate, maxRate}, {burstOf, burstText, minBurst, maxBurst}} {
			n, why, hint := kind.read(s)
			if why != "" {
				if n != 0 || hint == "" || strings.Contains(why, "\n") {
					t.Errorf("%q is %d: %s, %s", s, n, why, hint)
				}
				continue
			}
			again, why, _ := kind.read(kind.text(n))
			if n < kind.low || n > kind.high || why != "" || again != n {
				t.Errorf("%q is %d, and %q is %d: %s", s, n, kind.text(n), again, why)
			}
		}
	})
}
