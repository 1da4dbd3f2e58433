//go:build linux

package nettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Remember takes a snapshot now that the namespace must be like again at the end of the test. The last call counts.
func (s *Space) Remember(t testing.TB) {
	t.Helper()
	want := s.settled(t)
	if s.remembered == nil {
		t.Cleanup(func() { s.Same(t) })
	}
	s.remembered = &want
}

// Remembered is what [Space.Remember] saw last.
func (s *Space) Remembered() string { return *s.remembered }

// Same fails the test unless the namespace is like what [Space.Remember] saw. It waits a little for what the kernel
// does in the background, such as taking links away that were in a namespace which has ended.
func (s *Space) Same(t testing.TB) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = s.Snapshot(t); got == *s.remembered {
			return
		}
	}
	diff := cmp.Diff(strings.Split(*s.remembered, "\n"), strings.Split(got, "\n"))
	t.Errorf("%s is not as it was (-before +after):\n%s", s.Name, diff)
}

// settled takes snapshots until two are alike and nothing more is on its way: a link that came up gets addresses and routes a
// moment later.
func (s *Space) settled(t testing.TB) string {
	t.Helper()
	last := s.Snapshot(t)
	Eventually(t, s.Name+" comes to rest", func() bool {
		time.Sleep(10 * time.Millisecond)
		next := s.Snapshot(t)
		same := next == last
		last = next
		return same && s.unrouted(t) == 0
	})
	return last
}

// unrouted is how many IPv6 addresses have no route of their own yet. The kernel makes these, and joins the groups that belong to
// them, from a queue of work (net/ipv6/addrconf.c, addrconf_dad_work), as soon as the link has a carrier.
func (s *Space) unrouted(t testing.TB) int {
	t.Helper()
	missing := map[string]bool{}
	s.Do(t, func() {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		check(t, "open a socket in "+s.Name, err)
		defer h.Close()
		v := &view{t: t, h: h}
		runs := map[int]bool{}
		for _, l := range again(v, "links", h.LinkList) {
			runs[l.Attrs().Index] = l.Attrs().RawFlags&unix.IFF_RUNNING != 0
		}
		for _, a := range again(v, "addresses", func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_V6) }) {
			if runs[a.LinkIndex] && a.Flags&unix.IFA_F_DADFAILED == 0 {
				missing[a.IP.String()] = true
			}
		}
		for _, r := range again(v, "routes", func() ([]netlink.Route, error) {
			return h.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		}) {
			if r.Dst != nil {
				delete(missing, r.Dst.IP.String())
			}
		}
	})
	return len(missing)
}

// Snapshot is everything that lanhook could change in a namespace, as sorted lines. Counters, indexes, learned
// neighbours and states that change by themselves are left out.
func (s *Space) Snapshot(t testing.TB) string {
	t.Helper()
	var lines []string
	s.Do(t, func() {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		check(t, "open a socket in "+s.Name, err)
		defer h.Close()
		v := &view{t: t, h: h, names: map[int]string{}}
		links := v.links()
		lines = slices.Concat(links, v.addresses(), v.routes(), v.rules(), v.neighbours(), v.vlans(), settings(), s.ruleset(t, links))
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

type view struct {
	t     testing.TB
	h     *netlink.Handle
	names map[int]string
}

// again reads a list until it did not change under the reader.
func again[T any](v *view, what string, list func() ([]T, error)) []T {
	v.t.Helper()
	for {
		got, err := list()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		check(v.t, "list "+what, err)
		return got
	}
}

func (v *view) links() []string {
	list := again(v, "links", v.h.LinkList)
	for _, l := range list {
		v.names[l.Attrs().Index] = l.Attrs().Name
	}
	var lines []string
	for _, l := range list {
		a := l.Attrs()
		flags := a.RawFlags & (unix.IFF_UP | unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP)
		line := fmt.Sprintf("link %s kind %s mac %s flags %#x promiscuity %d mtu %d group %#x txqlen %d master %q alias %q altnames %v",
			a.Name, l.Type(), a.HardwareAddr, flags, a.Promisc, a.MTU, a.Group, a.TxQLen, v.names[a.MasterIndex], a.Alias,
			a.AltNames)
		if m, ok := l.(*netlink.Macvlan); ok {
			line += fmt.Sprintf(" mode %d", m.Mode)
		}
		lines = append(lines, line)
	}
	return lines
}

func (v *view) addresses() []string {
	var lines []string
	for _, a := range again(v, "addresses", func() ([]netlink.Addr, error) { return v.h.AddrList(nil, netlink.FAMILY_ALL) }) {
		lines = append(lines, fmt.Sprintf("address %s on %s broadcast %s scope %d",
			a.IPNet, v.names[a.LinkIndex], a.Broadcast, a.Scope))
	}
	return lines
}

func (v *view) routes() []string {
	var lines []string
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		for _, r := range again(v, "routes", func() ([]netlink.Route, error) {
			return v.h.RouteListFiltered(f, all, netlink.RT_FILTER_TABLE)
		}) {
			lines = append(lines, fmt.Sprintf("route %s via %s on %s table %d type %d scope %d metric %d from %s protocol %d",
				r.Dst, r.Gw, v.names[r.LinkIndex], r.Table, r.Type, r.Scope, r.Priority, r.Src, r.Protocol))
		}
	}
	return lines
}

func (v *view) rules() []string {
	var lines []string
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		for _, r := range again(v, "rules", func() ([]netlink.Rule, error) { return v.h.RuleList(f) }) {
			lines = append(lines, fmt.Sprintf("rule %d family %d %s table %d", r.Priority, f, r.String(), r.Table))
		}
	}
	return lines
}

// neighbours are those that somebody set, of the bridges' forwarding tables as well.
func (v *view) neighbours() []string {
	var lines []string
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		for _, n := range again(v, "neighbours", func() ([]netlink.Neigh, error) { return v.h.NeighList(0, f) }) {
			if n.State&unix.NUD_PERMANENT != 0 {
				lines = append(lines, fmt.Sprintf("neighbour family %d %s %s on %s master %s vlan %d",
					f, n.IP, n.HardwareAddr, v.names[n.LinkIndex], v.names[n.MasterIndex], n.Vlan))
			}
		}
	}
	return lines
}

// vlans are those of bridges and of their ports.
func (v *view) vlans() []string {
	var lines []string
	list, err := v.h.BridgeVlanList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return v.vlans()
	}
	check(v.t, "list VLANs of bridges", err)
	for index, all := range list {
		for _, vlan := range all {
			lines = append(lines, fmt.Sprintf("vlan %d of %s flags %#x", vlan.Vid, v.names[int(index)], vlan.Flags))
		}
	}
	return lines
}

// settings are those under net that an attach may change. A link, and its settings, may go at any time; then the snapshot
// differs and another is taken.
func settings() []string {
	var lines []string
	read := func(name string) {
		if value, err := setting(name); err == nil {
			lines = append(lines, "setting "+name+" "+value)
		}
	}
	for _, name := range []string{"ip_forward", "ip_local_port_range", "ip_local_reserved_ports"} {
		read("ipv4/" + name)
	}
	for family, names := range map[string][]string{
		"ipv4": {"forwarding", "rp_filter", "route_localnet"},
		"ipv6": {"forwarding", "accept_ra", "disable_ipv6"},
	} {
		links, _ := os.ReadDir("/proc/sys/net/" + family + "/conf") // There is none in a kernel without IPv6.
		for _, l := range links {
			for _, name := range names {
				read(family + "/conf/" + l.Name() + "/" + name)
			}
		}
	}
	return lines
}

// setting reads one with the fewest system calls: there are some hundreds in a snapshot.
func setting(name string) (string, error) {
	fd, err := unix.Open("/proc/sys/net/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var value [4096]byte
	n, err := unix.Read(fd, value[:])
	return strings.TrimSpace(string(value[:max(n, 0)])), err
}

// rules is a ruleset as it was listed last: what it was at one generation, for links of these names.
type rules struct {
	generation uint32
	links      []string
	listed     []string
}

// ruleset is nft's listing, empty on a machine without nft or nftables. nft is asked only when there is another ruleset, or
// when links came or went, of which rules may speak: it takes longer than all the rest.
func (s *Space) ruleset(t testing.TB, links []string) []string {
	t.Helper()
	generation, err := generation()
	if err == nil && generation == s.rules.generation && slices.Equal(links, s.rules.links) {
		return s.rules.listed
	}
	listed := listRuleset(t)
	if err == nil {
		s.rules = rules{generation, links, listed}
	}
	return listed
}

// generation is the number of this namespace's ruleset, which each change counts up (NFT_MSG_GETGEN, net/netfilter/nf_tables_api.c).
func generation() (uint32, error) {
	const genID = 1 // NFTA_GEN_ID of linux/netfilter/nf_tables.h
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{})
	msgs, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Attr.Type == genID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("nftables tells no generation")
}

func listRuleset(t testing.TB) []string {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil
	}
	out, err := exec.Command(nft, "--stateless", "list", "ruleset").Output()
	if err != nil {
		t.Logf("no ruleset: %v", err)
		return nil
	}
	text := strings.TrimSpace(string(out))
	if text == "" {
		return nil
	}
	return []string{"nft " + strings.ReplaceAll(text, "\n", "\n  ")}
}
