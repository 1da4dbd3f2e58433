//go:build linux

package nettest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Have is the environment variable in which a lane of tests says what its kernel has: a comma list of features. A
// feature in the list that is missing fails the test instead of skipping it. When it is set at all, so does a lack of
// rights.
const Have = "LANHOOK_TEST_HAVE"

// Feature is something of the kernel that a test needs, in the words of [Have].
type Feature string

// The features.
const (
	Veth    Feature = "veth"
	Bridge  Feature = "bridge"
	Macvlan Feature = "macvlan"
	VXLAN   Feature = "vxlan"
	NFT     Feature = "nft"
	// BridgeNF is a bridge whose frames go through the host's rules for packets (br_netfilter).
	BridgeNF Feature = "bridge-nf"
	IPVLAN   Feature = "ipvlan"
	VLAN     Feature = "vlan"
)

// Need skips the test, loudly, unless the kernel has the features. It finds out by using them in a namespace that ends
// at once.
func Need(t testing.TB, features ...Feature) {
	t.Helper()
	have, stated := os.LookupEnv(Have)
	for _, f := range features {
		err := probe(f)
		switch {
		case err == nil:
		case slices.Contains(strings.Split(have, ","), string(f)), stated && errors.Is(err, errNoRight):
			t.Fatalf("%s=%s promises %s, but: %v", Have, have, f, err)
		default:
			t.Skipf("SKIPPED, NOT TESTED: needs %s: %v", f, err)
		}
	}
}

var errNoRight = errors.New("no right to make a network namespace (run as root)")

func probe(f Feature) error {
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = errors.Join(errNoRight, err)
			return
		}
		err = use(f)
	})
	return err
}

// bridgeCalls are the settings of [BridgeNF].
func bridgeCalls() [2]string {
	const folder = "/proc/sys/net/bridge/bridge-nf-call-"
	return [2]string{folder + "iptables", folder + "ip6tables"}
}

// CallBridge says whether frames that a bridge of the namespace passes on go through its rules for packets. Where the
// kernel has no such thing it does nothing, and for true skips the test.
func (s *Space) CallBridge(t testing.TB, call bool) {
	t.Helper()
	value := "0"
	if call {
		Need(t, BridgeNF)
		value = "1"
	}
	s.Do(t, func() {
		for _, name := range bridgeCalls() {
			if err := os.WriteFile(name, []byte(value), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	})
}

func use(f Feature) error {
	if f == NFT {
		out, err := exec.Command("nft", "add table inet probe").CombinedOutput()
		if err != nil {
			return fmt.Errorf("add an nft table: %w: %s", err, out)
		}
		return nil
	}
	if f == BridgeNF {
		_, err := os.Stat(bridgeCalls()[0])
		return err
	}
	named := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	parent := &netlink.Veth{LinkAttrs: named("probe0"), PeerName: "probe1"}
	if err := netlink.LinkAdd(parent); err != nil {
		return fmt.Errorf("add a veth: %w", err)
	}
	attrs := named("probe2")
	var link netlink.Link
	switch f { //nolint:exhaustive // the children of a parent are below
	case Veth:
		return nil
	case Bridge:
		link = &netlink.Bridge{LinkAttrs: attrs}
	case VXLAN:
		link = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 10, Port: 4789}
	default:
		lower, err := netlink.LinkByName("probe0")
		if err != nil {
			return err
		}
		attrs.ParentIndex = lower.Attrs().Index
		switch f { //nolint:exhaustive // the others are above
		case Macvlan:
			link = &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
		case IPVLAN:
			link = &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L2}
		case VLAN:
			link = &netlink.Vlan{LinkAttrs: attrs, VlanId: 10}
		default:
			return fmt.Errorf("there is no feature %q", f)
		}
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add a %s: %w", f, err)
	}
	return nil
}
