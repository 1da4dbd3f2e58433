//go:build linux

package kernel_test

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// bound is a port that a socket has which does not listen.
const bound = 84

// listen makes the test's own process have ports of the test's host.
func listen(t *testing.T, s *nettest.Space) {
	t.Helper()
	s.Do(t, func() {
		for network, address := range map[string]string{
			"tcp4": "0.0.0.0:80", "tcp6": "[::]:81", "tcp": "[::]:82", "udp4": "127.0.0.1:53", "udp6": "[::1]:54", "udp": "[::]:55",
		} {
			if strings.HasPrefix(network, "udp") {
				c, err := net.ListenPacket(network, address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				continue
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
		for _, port := range []int{83, bound} {
			// Not listening; the last is without SO_REUSEADDR.
			fd := tcpSocket(t)
			if port == 83 {
				setReuse(t, fd)
			}
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
		}
	})
}

func tcpSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func setReuse(t *testing.T, fd int) {
	t.Helper()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
}

func comm(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

// listener is who has a port of the host, by the facts for an attachment that publishes it.
func listener(
	t *testing.T, h *kernel.Host, protocol request.Protocol, addr netip.Addr, port uint16,
) (plan.Listener, bool, error) {
	t.Helper()
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{
		{Publish: []policy.Publish{{Protocol: protocol, Addr: addr, Host: port, Count: 1}}},
	})
	if err != nil || len(facts.Listeners) == 0 {
		return plan.Listener{}, false, err
	}
	return facts.Listeners[0], true, nil
}

func TestListener(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() { lo(t) })
	n.Host.Remember(t)
	listen(t, n.Host)
	const any4, any6 = "0.0.0.0", "::"
	for name, c := range map[string]struct {
		protocol request.Protocol
		addr     string
		port     uint16
		want     string // the address that is taken
	}{
		"PP-09 taken":                        {request.TCP, any4, 80, any4},
		"PP-09 taken on all addresses":       {request.TCP, "127.0.0.1", 80, any4},
		"PP-08 the other protocol":           {request.UDP, any4, 80, ""},
		"the other family":                   {request.TCP, any6, 80, ""},
		"IPv6 alone":                         {request.TCP, any6, 81, any6},
		"IPv6 alone leaves IPv4":             {request.TCP, any4, 81, ""},
		"IPv6 with IPv4":                     {request.TCP, any6, 82, any6},
		"IPv6 with IPv4, asked for IPv4":     {request.TCP, any4, 82, any4},
		"IPv6 with IPv4, an address of IPv4": {request.TCP, "198.18.0.1", 82, any4},
		"bound, with SO_REUSEADDR":           {request.TCP, any4, 83, ""},
		"bound, without":                     {request.TCP, any4, bound, any4},
		"UDP on its address":                 {request.UDP, "127.0.0.1", 53, "127.0.0.1"},
		"UDP on all":                         {request.UDP, any4, 53, "127.0.0.1"},
		"UDP on another address":             {request.UDP, "198.18.0.1", 53, ""},
		"UDP of IPv6":                        {request.UDP, "::1", 54, "::1"},
		"UDP of both":                        {request.UDP, any4, 55, any4},
		"PP-09 SCTP":                         {request.SCTP, any4, 80, ""},
		"free":                               {request.TCP, any4, 8080, ""},
		"free of IPv6":                       {request.UDP, any6, 8080, ""},
		"no address of the host's":           {request.TCP, "192.0.2.9", 80, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, taken, err := listener(t, h, c.protocol, addr(c.addr), c.port)
			if err != nil || taken != (c.want != "") {
				t.Fatalf("taken is %v (%v), want %q", taken, err, c.want)
			}
			if only, err := h.Taken(c.protocol, addr(c.addr), c.port); err != nil || only != taken {
				t.Errorf("without a name: taken is %v (%v)", only, err)
			}
			if !taken {
				return
			}
			want := plan.Listener{Protocol: c.protocol, Addr: addr(c.want), Port: c.port, PID: os.Getpid(), Name: comm(t)}
			if c.port == bound && nettest.Before(t, 6, 8) {
				// Sockets that neither listen nor are connected are listed since (TCP_BOUND_INACTIVE).
				want.PID, want.Name = 0, ""
			}
			if diff := cmp.Diff(want, got, byText()); diff != "" {
				t.Errorf("listener (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("facts", func(t *testing.T) {
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{{Publish: []policy.Publish{
			{Protocol: request.TCP, Addr: addr(any4), Host: 79, Count: 3},
			{Protocol: request.UDP, Addr: addr("::1"), Host: 54, Count: 1},
			{Protocol: request.UDP, Addr: addr(any4), Count: 1},
		}}})
		want := []plan.Listener{
			{Protocol: request.TCP, Addr: addr(any4), Port: 80, PID: os.Getpid(), Name: comm(t)},
			{Protocol: request.UDP, Addr: addr("::1"), Port: 54, PID: os.Getpid(), Name: comm(t)},
		}
		if diff := cmp.Diff(want, facts.Listeners, byText()); diff != "" || err != nil {
			t.Errorf("%v listeners (-want +got):\n%s", err, diff)
		}
	})
}

// What is left of ended connections holds no port, not even that of a server without SO_REUSEADDR, nor does a process
// that has it in another namespace.
func TestNobodyListens(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	n.Host.Do(t, func() { lo(t) })
	n.Host.Remember(t)
	n.Host.Do(t, func() {
		server := tcpSocket(t)
		defer unix.Close(server)
		to := &unix.SockaddrInet4{Port: 90, Addr: [4]byte{127, 0, 0, 1}}
		if err := unix.Bind(server, to); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(server, 1); err != nil {
			t.Fatal(err)
		}
		client := tcpSocket(t)
		defer unix.Close(client)
		if err := unix.Connect(client, to); err != nil {
			t.Fatal(err)
		}
		accepted, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(accepted) // Who closes first waits.
	})
	c.Do(t, func() {
		lo(t)
		l, err := net.Listen("tcp4", "127.0.0.1:91")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
	nettest.Eventually(t, "the connection waits for its end", func() bool {
		return strings.Contains(procFile(t, n.Host, "tcp"), "0100007F:005A 0100007F:")
	})
	for _, port := range []uint16{90, 91} {
		if got, taken, err := listener(t, h, request.TCP, netip.IPv4Unspecified(), port); taken || err != nil {
			t.Errorf("port %d is taken by %+v (%v)", port, got, err)
		}
	}
}

// lo brings the loopback link of the thread's namespace up.
func lo(t *testing.T) {
	t.Helper()
	l, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// procFile reads a file below /proc/net of a namespace.
func procFile(t *testing.T, s *nettest.Space, name string) string {
	t.Helper()
	var raw []byte
	s.Do(t, func() {
		var err error
		if raw, err = os.ReadFile("/proc/thread-self/net/" + name); err != nil {
			t.Fatal(err)
		}
	})
	return string(raw)
}

// TestWhole asks of addresses that would go to a container as a whole what the host would lose with them.
func TestWhole(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() {
		lo(t)
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("fd77::2/64"))
		nettest.AddAddress(t, nettest.CanaryBridge, prefix("172.17.0.1/16")) // as an engine's
	})
	n.Host.Remember(t)
	look := func(q kernel.Query) plan.Facts {
		t.Helper()
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{q})
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	p0, canary := []netip.Addr{addr("10.77.0.2"), addr("fd77::2")}, []netip.Addr{addr("198.18.0.1"), addr("2001:2::1")}
	both := slices.Concat(p0, canary)
	for name, c := range map[string]struct {
		whole, given, want []netip.Addr
	}{
		"another link":         {p0, nil, nil},
		"the last of a family": {[]netip.Addr{p0[0]}, canary, []netip.Addr{p0[0]}},
		"given already":        {p0, canary, p0},
		"all at once":          {both, nil, both},
		"on a bridge":          {[]netip.Addr{addr("172.17.0.1")}, nil, nil},
	} {
		if diff := cmp.Diff(c.want, look(kernel.Query{Whole: c.whole, Given: c.given}).Only, byText()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.3/24"))
		defer removeAddress(t, nettest.Parent, "10.77.0.3/24")
		if got := look(kernel.Query{Whole: p0, Given: canary}).Only; !slices.Equal(got, p0[1:]) {
			t.Errorf("with a second address, it cannot do without %v", got)
		}
	})
	listenAt := func(at string) (end func()) {
		var l net.Listener
		n.Host.Do(t, func() {
			var err error
			if l, err = net.Listen("tcp", at); err != nil {
				t.Fatal(err)
			}
		})
		return func() { _ = l.Close() }
	}
	defer listenAt("10.77.0.2:22")()
	defer listenAt("[fd77::2]:23")()
	defer listenAt("[::]:24")()
	defer listenAt("198.18.0.1:25")()
	want := []plan.Listener{
		{Protocol: request.TCP, Addr: p0[0], Port: 22, PID: os.Getpid(), Name: comm(t)},
		{Protocol: request.TCP, Addr: p0[1], Port: 23, PID: os.Getpid(), Name: comm(t)},
	}
	if diff := cmp.Diff(want, look(kernel.Query{Whole: p0}).Listeners, byText()); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

func removeAddress(t *testing.T, link, text string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(text)
	if err == nil {
		err = netlink.AddrDel(l, a)
	}
	if err != nil {
		t.Fatal(err)
	}
}
