package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/policy"
)

// The host's hosts file is of no matter but in the host's namespace: one that is too long for a container stops no other.
func TestReadHost(t *testing.T) {
	dir := t.TempDir()
	p := Places{filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "none"), filepath.Join(dir, "hosts")}
	for name, text := range map[string]string{p.Resolv: "nameserver 192.0.2.1\n", p.Hosts: strings.Repeat("0.0.0.0 x\n", maxFile/10+1)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, netns := range []policy.NetNSKind{policy.NetNSDefault, policy.NetNSNone} {
		h, err := ReadHost(netns, p)
		if err != nil || len(h.Resolv) == 0 || h.Resolved != nil || h.Hosts != nil {
			t.Errorf("%v: %v", netns, err)
		}
	}
	if _, err := ReadHost(policy.NetNSHost, p); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("in the host's namespace: %v", err)
	}
	if err := os.WriteFile(p.Hosts, []byte("192.0.2.9 box\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHost(policy.NetNSHost, p); err != nil || string(h.Hosts) != "192.0.2.9 box\n" {
		t.Errorf("in the host's namespace: %q (%v)", h.Hosts, err)
	}
}
