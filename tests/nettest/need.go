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
)

// The features that kernels of the machines for development lack, and those of the test machine's guests have. What needs
// them is tested there: tests stand in files whose names end in _vm_test.go, all of which the lane of guests runs.
const (
	IPVLAN Feature = "ipvlan"
	// VLAN is a link for a VLAN, of 802.1Q and of 802.1ad.
	VLAN Feature = "vlan"
	// VLANFiltering is a bridge that keeps VLANs apart.
	VLANFiltering Feature = "vlan-filtering"
	Dummy         Feature = "dummy"
	Bond          Feature = "bond"
	VRF           Feature = "vrf"
	// SCTP are sockets of SCTP.
	SCTP Feature = "sctp"
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

// use uses a feature in the namespace of the thread.
func use(f Feature) error {
	switch f { //nolint:exhaustive // the others are links
	case NFT:
		out, err := exec.Command("nft", "add table inet probe").CombinedOutput()
		if err != nil {
			return fmt.Errorf("add an nft table: %w: %s", err, out)
		}
		return nil
	case BridgeNF:
		_, err := os.Stat(bridgeCalls()[0])
		return err
	case SCTP:
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return fmt.Errorf("open a socket of SCTP: %w", err)
		}
		return unix.Close(fd)
	}
	parent := &netlink.Veth{LinkAttrs: named("probe0"), PeerName: "probe1"}
	if err := netlink.LinkAdd(parent); err != nil {
		return fmt.Errorf("add a veth: %w", err)
	}
	lower, err := netlink.LinkByName("probe0")
	if err != nil {
		return err
	}
	links := linksOf(f, lower.Attrs().Index)
	if links == nil && f != Veth {
		return fmt.Errorf("there is no feature %q", f)
	}
	for _, link := range links {
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("add a %s: %w", f, err)
		}
	}
	return nil
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// linksOf are the links by which a feature shows, beside the parent.
func linksOf(f Feature, parent int) []netlink.Link {
	attrs := named("probe2")
	child := attrs
	child.ParentIndex = parent
	on := true
	switch f {
	case Bridge:
		return []netlink.Link{&netlink.Bridge{LinkAttrs: attrs}}
	case VLANFiltering:
		return []netlink.Link{&netlink.Bridge{LinkAttrs: attrs, VlanFiltering: &on}}
	case VXLAN:
		return []netlink.Link{&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 10, Port: 4789}}
	case Dummy:
		return []netlink.Link{&netlink.Dummy{LinkAttrs: attrs}}
	case Bond:
		bond := netlink.NewLinkBond(attrs)
		bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
		return []netlink.Link{bond}
	case VRF:
		return []netlink.Link{&netlink.Vrf{LinkAttrs: attrs, Table: 10}}
	case Macvlan:
		return []netlink.Link{&netlink.Macvlan{LinkAttrs: child, Mode: netlink.MACVLAN_MODE_BRIDGE}}
	case IPVLAN:
		return []netlink.Link{&netlink.IPVlan{LinkAttrs: child, Mode: netlink.IPVLAN_MODE_L2}}
	case VLAN:
		service := child
		service.Name = "probe3"
		return []netlink.Link{
			&netlink.Vlan{LinkAttrs: child, VlanId: 10},
			&netlink.Vlan{LinkAttrs: service, VlanId: 10, VlanProtocol: netlink.VLAN_PROTOCOL_8021AD},
		}
	case Veth, NFT, BridgeNF, SCTP:
	}
	return nil
}
