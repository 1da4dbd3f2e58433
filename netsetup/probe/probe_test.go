package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func own() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 1} }

func other() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 2} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// replyARP is what a host says that has an address.
func replyARP(mac net.HardwareAddr, a netip.Addr) []byte {
	return arp(mac, arpReply, a, netip.IPv4Unspecified())
}

// lan answers each question at once, by a script, and keeps what was sent.
type lan struct {
	sent    [][]byte
	answers func(question []byte) [][]byte
	waiting [][]byte
	err     error
}

func (l *lan) Send(frame []byte) error {
	l.sent = append(l.sent, slices.Clone(frame))
	l.waiting = append(l.waiting, frame) // an echo
	if l.answers != nil {
		l.waiting = append(l.waiting, l.answers(frame)...)
	}
	return l.err
}

func (l *lan) Receive(frame []byte, until time.Time) (int, error) {
	if len(l.waiting) == 0 {
		time.Sleep(time.Until(until))
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(frame, l.waiting[0])
	l.waiting = l.waiting[1:]
	return n, nil
}

// quick is a timing for tests.
func quick() Timing {
	return Timing{Questions: []time.Duration{0, time.Millisecond, 2 * time.Millisecond}, End: 3 * time.Millisecond}
}

func TestRun(t *testing.T) {
	v4, v6 := addr("192.0.2.9"), addr("2001:db8::9")
	nd := func(mac net.HardwareAddr, kind byte, src, dst, target netip.Addr) []byte {
		body := make([]byte, ndLen)
		body[0] = kind
		copy(body[8:], target.AsSlice())
		return icmp(mac, src, dst, body)
	}
	body := make([]byte, ndLen+500) // with options as RFC 3971 has them
	body[0] = icmpNA
	copy(body[8:], v6.AsSlice())
	signed := icmp(other(), v6, netip.IPv6LinkLocalAllNodes(), body)
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"nobody":                      {nil, ""},
		"ARP answer":                  {replyARP(other(), v4), "address 192.0.2.9 is in use on the LAN, by 02:00:00:00:00:02"},
		"ARP question of its owner":   {arp(other(), arpRequest, v4, addr("192.0.2.1")), "address 192.0.2.9 is in use on the LAN, by 02:00:00:00:00:02"},
		"ARP announcement":            {announcement(other(), v4), "address 192.0.2.9 is in use on the LAN, by 02:00:00:00:00:02"},
		"ARP probe at the same time":  {question(other(), v4), "02:00:00:00:00:02 is about to take address 192.0.2.9, too"},
		"ARP answer to us":            {replyARP(own(), v4), ""},
		"ARP about another":           {replyARP(other(), addr("192.0.2.10")), ""},
		"ARP question for it":         {arp(other(), arpRequest, addr("192.0.2.1"), v4), ""},
		"neighbour advertisement":     {announcement(other(), v6), "address 2001:db8::9 is in use on the LAN, by 02:00:00:00:00:02"},
		"solicitation of its owner":   {nd(other(), icmpNS, v6, solicited(addr("2001:db8::1")), addr("2001:db8::1")), "address 2001:db8::9 is in use on the LAN, by 02:00:00:00:00:02"},
		"DAD at the same time":        {question(other(), v6), "02:00:00:00:00:02 is about to take address 2001:db8::9, too"},
		"solicitation for it":         {nd(other(), icmpNS, addr("2001:db8::1"), solicited(v6), v6), ""},
		"router solicitation":         {nd(other(), 133, v6, netip.IPv6LinkLocalAllNodes(), v6), ""},
		"signed advertisement":        {signed, "address 2001:db8::9 is in use on the LAN, by 02:00:00:00:00:02"},
		"advertisement about another": {announcement(other(), addr("2001:db8::a")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lan{answers: func([]byte) [][]byte { return [][]byte{c.frame} }}
			err := Run(t.Context(), l, own(), []netip.Addr{v4, v6}, quick())
			var got string
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestOwners hears who has an address, and not who asks for it, as another link of the same host does that is asked on too.
func TestOwners(t *testing.T) {
	a, b := addr("192.0.2.9"), addr("2001:db8::9")
	sibling := net.HardwareAddr{2, 0, 0, 0, 0, 3}
	l := &lan{answers: func(q []byte) [][]byte {
		if s, ok := read(q); ok && s.addr == a {
			return [][]byte{question(sibling, a), question(sibling, b), replyARP(other(), a)}
		}
		return nil
	}}
	got, err := Owners(t.Context(), l, own(), []netip.Addr{a, b})
	if diff := cmp.Diff(map[netip.Addr]net.HardwareAddr{a: other()}, got, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestLate looks at what has come since, and waits for nothing.
func TestLate(t *testing.T) {
	a := addr("192.0.2.9")
	for name, c := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"nothing":  {nil, ""},
		"its echo": {[][]byte{question(own(), a)}, ""},
		"a rival":  {[][]byte{question(own(), a), question(other(), a)}, "02:00:00:00:00:02 is about to take address 192.0.2.9, too"},
		"a flood":  {slices.Repeat([][]byte{replyARP(other(), addr("192.0.2.10"))}, 2*maxLate), ""},
	} {
		got := ""
		if err := Late(&lan{waiting: c.frames}, own(), []netip.Addr{a}); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	cause := errors.New("the link is down")
	if err := Late(&broken{cause}, own(), []netip.Addr{a}); !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

// broken is a wire from which nothing can be received.
type broken struct{ err error }

func (b *broken) Send([]byte) error { return nil }

func (b *broken) Receive([]byte, time.Time) (int, error) { return 0, b.err }

// busy is a wire on a machine that is busy: whoever waits for a frame gets the processor too late, and what has come in by then
// is still to be taken.
type busy struct{ lan }

func (b *busy) Receive(frame []byte, until time.Time) (int, error) {
	if wait := time.Until(until); wait > 0 {
		time.Sleep(wait + 10*time.Millisecond)
		return 0, os.ErrDeadlineExceeded
	}
	return b.lan.Receive(frame, until)
}

// TestRunBusy hears what came in while nobody looked.
func TestRunBusy(t *testing.T) {
	a := addr("192.0.2.9")
	l := &busy{lan{answers: func([]byte) [][]byte { return [][]byte{replyARP(other(), a)} }}}
	if err := Run(t.Context(), l, own(), []netip.Addr{a}, quick()); err == nil {
		t.Error("the answer was missed")
	}
}

// TestRunAsks counts the questions: three for each address that nobody has, and none for one that is known to be somebody's.
func TestRunAsks(t *testing.T) {
	addrs := []netip.Addr{addr("192.0.2.9"), addr("192.0.2.10"), addr("2001:db8::9")}
	l := &lan{answers: func(q []byte) [][]byte {
		if slices.Equal(q, question(own(), addrs[1])) {
			return [][]byte{replyARP(other(), addrs[1])}
		}
		return nil
	}}
	err := Run(t.Context(), l, own(), addrs, quick())
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || len(conflict.Conflicts) != 1 || conflict.Conflicts[0].Addr != addrs[1] {
		t.Errorf("got %v", err)
	}
	got := map[string]int{}
	for _, frame := range l.sent {
		s, ok := read(frame)
		if !ok || !s.asks || !slices.Equal(s.mac, own()) {
			t.Errorf("sent % x", frame)
		}
		got[s.addr.String()]++
	}
	if diff := cmp.Diff(map[string]int{"192.0.2.9": 3, "192.0.2.10": 1, "2001:db8::9": 3}, got); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestRunEnds(t *testing.T) {
	t.Run("as soon as all is known", func(t *testing.T) {
		a := addr("192.0.2.9")
		l := &lan{answers: func([]byte) [][]byte { return [][]byte{replyARP(other(), a)} }}
		err := Run(t.Context(), l, own(), []netip.Addr{a}, Timing{Questions: []time.Duration{0, time.Hour}, End: 2 * time.Hour})
		if _, ok := errors.AsType[*ConflictError](err); !ok {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with the context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the time is over")
		cancel(cause)
		if err := Run(ctx, &lan{}, own(), []netip.Addr{addr("192.0.2.9")}, RFC()); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with the wire", func(t *testing.T) {
		cause := errors.New("the link is down")
		if err := Run(t.Context(), &lan{err: cause}, own(), []netip.Addr{addr("192.0.2.9")}, quick()); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
}

// TestAsksWeighsLess prefers who has an address to who asks for it.
func TestAsksWeighsLess(t *testing.T) {
	a := addr("192.0.2.9")
	third := net.HardwareAddr{2, 0, 0, 0, 0, 3}
	for _, frames := range [][][]byte{{question(third, a), replyARP(other(), a)}, {replyARP(other(), a), question(third, a)}} {
		p := probe{mac: own(), addrs: []netip.Addr{a}, found: map[netip.Addr]Conflict{}}
		for _, f := range frames {
			p.hear(f)
		}
		if got := p.found[a]; got.Asks || !slices.Equal(got.MAC, other()) {
			t.Errorf("found %+v", got)
		}
	}
}

func TestAnnounce(t *testing.T) {
	l := &lan{}
	addrs := []netip.Addr{addr("192.0.2.9"), addr("2001:db8::9")}
	if err := Announce(l, own(), addrs); err != nil {
		t.Fatal(err)
	}
	var got []netip.Addr
	for _, frame := range l.sent {
		s, ok := read(frame)
		if !ok || s.asks || !slices.Equal(s.mac, own()) {
			t.Errorf("sent % x", frame)
		}
		got = append(got, s.addr)
	}
	if diff := cmp.Diff(addrs, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
}

// TestFrames holds the bytes, as RFC 826 and RFC 4861 draw them.
func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"ARP probe": {question(own(), addr("192.0.2.9")), "ffffffffffff 020000000001 0806 0001 0800 06 04 0001" +
			" 020000000001 00000000 000000000000 c0000209" + strings.Repeat("00", 18)},
		"ARP announcement": {announcement(own(), addr("192.0.2.9")), "ffffffffffff 020000000001 0806 0001 0800 06 04 0001" +
			" 020000000001 c0000209 000000000000 c0000209" + strings.Repeat("00", 18)},
		"solicitation": {question(own(), addr("2001:db8::1:9")), "3333ff010009 020000000001 86dd 60000000 0018 3a ff" +
			strings.Repeat("00", 16) + "ff0200000000000000000001ff010009 87 00 4cdb 00000000 20010db8000000000000000000010009"},
		"advertisement": {announcement(own(), addr("2001:db8::1:9")), "333300000001 020000000001 86dd 60000000 0020 3a ff" +
			"20010db8000000000000000000010009 ff020000000000000000000000000001 88 00 f918 20000000" +
			"20010db8000000000000000000010009 02 01 020000000001"},
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.ReplaceAll(c.want, " ", "")
			if got := fmt.Sprintf("%x", c.frame); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestTimings(t *testing.T) {
	if f := Fast(); f.End > 60*time.Millisecond || f.Questions[len(f.Questions)-1] >= f.End {
		t.Errorf("fast is %+v", f)
	}
	for range 100 {
		r := RFC()
		for i, at := range r.Questions {
			switch {
			case i == 0 && at > time.Second, i > 0 && (at-r.Questions[i-1] < time.Second || at-r.Questions[i-1] > 2*time.Second):
				t.Fatalf("question %d of %+v", i, r)
			}
		}
		if len(r.Questions) != 3 || r.End-r.Questions[2] != 2*time.Second {
			t.Fatalf("timing %+v", r)
		}
	}
}

// FuzzRead reads whatever comes: what it understands names a MAC address and an address.
func FuzzRead(f *testing.F) {
	for _, frame := range [][]byte{
		question(own(), addr("192.0.2.9")), announcement(own(), addr("192.0.2.9")), replyARP(other(), addr("192.0.2.9")),
		question(own(), addr("2001:db8::9")), announcement(own(), addr("2001:db8::9")),
		{},
		make([]byte, etherLen),
	} {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, ok := read(frame)
		if ok && (len(s.mac) != macLen || !s.addr.IsValid()) {
			t.Errorf("read %+v", s)
		}
	})
}
