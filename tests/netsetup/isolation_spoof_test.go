//go:build linux

package netsetup_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestBorrowedConnection: a container of an internal network sends as one of another network, by a connection that is
// that one's. Somebody has turned on forwarding on all links, as whoever writes net.ipv4.ip_forward does.
func TestBorrowedConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, shopWith("internal = true")+back, false)
	inner, other := s.at(t, "inner", "shop", "9"), s.at(t, "other", "back", "9")
	s.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/lh-shop/forwarding", "1") })
	inner.Do(t, func() { nettest.AddAddress(t, "eth0", netip.MustParsePrefix("172.29.0.9/32")) })
	s.route(t, inner.Space, "0.0.0.0/0", "172.31.0.1")
	far := datagramSocket(t, s.Neighbour, "10.77.0.1:5353")
	says := func(from *nettest.Space, word string) string {
		near := datagramSocket(t, from, "172.29.0.9:4444")
		defer near.Close()
		if _, err := near.WriteTo([]byte(word), far.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := far.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 99)
		n, back, err := far.ReadFrom(buf)
		if err == nil {
			_, err = far.WriteTo(buf[:n], back) // from now on the kernel takes the connection for established
		}
		if err != nil {
			return ""
		}
		return string(buf[:n])
	}
	if got := says(other.Space, "mine"); got != "mine" {
		t.Fatalf("the neighbour heard %q of the container that may speak to it", got)
	}
	if got := says(inner.Space, "borrowed"); got != "" {
		t.Errorf("the neighbour heard %q from the internal network", got)
	}
	far.Close()
	s.over(t, inner, other)
}

// datagramSocket is a UDP socket of IPv4 in a namespace.
func datagramSocket(t *testing.T, in *nettest.Space, address string) *net.UDPConn {
	t.Helper()
	var (
		c   *net.UDPConn
		err error
	)
	in.Do(t, func() {
		var a *net.UDPAddr
		if a, err = net.ResolveUDPAddr("udp4", address); err == nil {
			c, err = net.ListenUDP("udp4", a)
		}
	})
	if err != nil {
		t.Fatalf("have %s: %v", address, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
