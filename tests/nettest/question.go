//go:build linux

package nettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Serve answers each question to a port of the namespace, a connection ("tcp") or a datagram ("udp"), with the name of the
// namespace and the address that the question came from. The unspecified IPv6 address serves both families. The function
// that it gives ends the service, and so does the end of the test.
func (s *Space) Serve(t testing.TB, network string, at netip.AddrPort) func() {
	t.Helper()
	var done sync.WaitGroup
	var closer io.Closer
	// What the machine itself can do with IPv6 says nothing of the namespace: the family is by the address alone.
	family, config := "4", net.ListenConfig{}
	if at.Addr().Is6() {
		family, config.Control = "6", bothFamilies
	}
	s.Do(t, func() {
		switch network {
		case "tcp":
			l, err := config.Listen(t.Context(), "tcp"+family, at.String())
			check(t, s.Name+" listens on "+at.String(), err)
			closer = l
			done.Go(func() { s.answerConnections(l) })
		case "udp":
			c, err := config.ListenPacket(t.Context(), "udp"+family, at.String())
			check(t, s.Name+" listens on "+at.String(), err)
			closer = c
			done.Go(func() { s.answerDatagrams(c) })
		default:
			t.Fatalf("there is no network %q", network)
		}
	})
	end := sync.OnceFunc(func() {
		_ = closer.Close()
		done.Wait()
	})
	t.Cleanup(end)
	return end
}

func (s *Space) answerConnections(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		// The one that answers hangs up first, as most servers do: its end stays behind (TIME_WAIT), not the asker's.
		_, _ = io.WriteString(c, s.answer(c.RemoteAddr())) //nolint:errcheck // who asks finds out
		_ = c.Close()
	}
}

func (s *Space) answerDatagrams(c net.PacketConn) {
	for {
		_, from, err := c.ReadFrom(make([]byte, 64))
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(s.answer(from)), from) //nolint:errcheck // who asks asks again
	}
}

func (s *Space) answer(to net.Addr) string {
	from, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return err.Error()
	}
	return s.Name + " " + from.Addr().Unmap().WithZone("").String()
}

// Ask asks a server of [Space.Serve] until it answers, and says why it did not in the time given. A datagram is sent
// again, with the same port, as long as there is no answer.
func (s *Space) Ask(t testing.TB, network string, to netip.AddrPort, within time.Duration) (string, error) {
	t.Helper()
	return s.AskFrom(t, network, netip.AddrPort{}, to, within)
}

// AskFrom is [Space.Ask] from an address and port of the asker's, each of which may be zero for any.
func (s *Space) AskFrom(t testing.TB, network string, from, to netip.AddrPort, within time.Duration) (string, error) {
	t.Helper()
	answer, err := "", error(nil)
	s.Do(t, func() {
		for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			got, failed := ask(network, from, to, deadline)
			if failed == nil {
				answer, err = got, nil
				return
			}
			// The last one may have had no time for a better reason.
			if err == nil || !timedOut(failed) {
				err = failed
			}
		}
	})
	return answer, err
}

// timedOut says whether an error is the end of the time given: package net has another one for connecting than for reading.
func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// ask runs on the thread that is inside the namespace: a connection to a literal address is opened by the caller.
func ask(network string, from, to netip.AddrPort, deadline time.Time) (string, error) {
	d := net.Dialer{Deadline: deadline, FallbackDelay: -1, Control: reuse}
	switch {
	case !from.IsValid():
	case network == "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(from)
	default:
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	c, err := d.DialContext(context.Background(), network, to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if network == "tcp" {
		if err := c.SetDeadline(deadline); err != nil {
			return "", err
		}
		text, err := io.ReadAll(c)
		if err == nil && len(text) == 0 {
			err = io.ErrUnexpectedEOF
		}
		return string(text), err
	}
	answer := make([]byte, 128)
	for time.Now().Before(deadline) {
		if _, err = c.Write([]byte("?")); err != nil {
			return "", err
		}
		if err = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return "", err
		}
		n, err := c.Read(answer)
		switch {
		case err == nil:
			return string(answer[:n]), nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return "", err
		}
	}
	return "", os.ErrDeadlineExceeded
}

// reuse lets a port be used that an earlier connection had.
func reuse(_, _ string, c syscall.RawConn) error {
	return option(c, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}

// bothFamilies lets a socket of IPv6 serve IPv4 as well.
func bothFamilies(_, _ string, c syscall.RawConn) error {
	return option(c, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
}

func option(c syscall.RawConn, level, name, value int) error {
	var err error
	controlled := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) })
	return errors.Join(controlled, err)
}

// Times that a question is given: to be answered on a busy machine, and to stay without an answer.
const (
	patience   = 5 * time.Second
	impatience = 300 * time.Millisecond
)

// Gets fails the test unless a question to an address, HOST:PORT, is answered with want: the name of the namespace that
// serves and, behind a space, the address that it saw, "*" for any. With "" nobody may answer, and with [Refused] the
// question must be refused.
func (s *Space) Gets(t testing.TB, network, to, want string) {
	t.Helper()
	s.GetsFrom(t, network, netip.AddrPort{}, to, want)
}

// GetsFrom is [Space.Gets] for [Space.AskFrom].
func (s *Space) GetsFrom(t testing.TB, network string, from netip.AddrPort, to, want string) {
	t.Helper()
	if wrong := s.Wrong(t, network, from, to, want); wrong != "" {
		t.Error(wrong)
	}
}

// Wrong says what is wrong with the answer to the question of [Space.GetsFrom], "" when it is as wanted. Questions may be
// asked side by side.
func (s *Space) Wrong(t testing.TB, network string, from netip.AddrPort, to, want string) string {
	t.Helper()
	at, err := netip.ParseAddrPort(to)
	check(t, "read an address", err)
	within := patience
	if want == "" || want == Refused {
		within = impatience
	}
	got, err := s.AskFrom(t, network, from, at, within)
	if want == Refused && timedOut(err) {
		got, err = s.AskFrom(t, network, from, at, patience) // A refusal may take its time on a busy machine.
	}
	name, anybody := strings.CutSuffix(want, "*")
	switch {
	case want == "" && err != nil, want == Refused && errors.Is(err, unix.ECONNREFUSED):
		return ""
	case want != "" && err == nil && (got == want || anybody && strings.HasPrefix(got, name)):
		return ""
	}
	return fmt.Sprintf("%s asks %s by %s: answer %q, error %v; want %q", s.Name, to, network, got, err, want)
}

// Refused is what [Space.Gets] wants of a port that nobody has.
const Refused = "refused"
