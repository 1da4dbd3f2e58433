//go:build linux

package firewall

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// A kernel before 5.16 has no egress hook, and says EOPNOTSUPP and nothing else (net/netfilter/nf_tables_api.c,
// nft_chain_parse_hook).
func TestUnguarded(t *testing.T) {
	refused := failed(&refusal{err: unix.EOPNOTSUPP}, "guard link eth0")
	for want, s := range map[string]plan.AddGuard{
		"guard link eth0: the kernel has no nftables' egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS): operation not supported": {If: "eth0", Spoof: true},
		"guard link eth0: the kernel has no nftables' family netdev (CONFIG_NF_TABLES_NETDEV): operation not supported":           {If: "eth0"},
	} {
		err := unguarded(s, refused)
		if err.Error() != want || !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("error %q, want %q", err, want)
		}
		var hinted interface{ Hint() string }
		if !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%v has no hint", err)
		}
	}
}

func TestSources(t *testing.T) {
	mac := plan.MAC{0x02, 0x42, 0xac, 0x11, 0x00, 0x02}
	for name, c := range map[string]struct {
		own  []netip.Addr
		want []string
	}{
		"none":     {},
		"one":      {[]netip.Addr{netip.MustParseAddr("192.0.2.1")}, []string{"fe80::42:acff:fe11:2", "192.0.2.1"}},
		"mapped":   {[]netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}, []string{"fe80::42:acff:fe11:2", "192.0.2.1"}},
		"its zone": {[]netip.Addr{netip.MustParseAddr("fe80::5%eth0")}, []string{"fe80::42:acff:fe11:2", "fe80::5"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, a := range sources(mac, c.own) {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
		})
	}
}
