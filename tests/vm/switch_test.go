//go:build linux

package vm_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/tests/vm"
)

// frame is one between the hosts with these numbers, 0 for all, with tags.
func frame(to, from byte, tags ...uint16) []byte {
	raw := []byte{2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from}
	if to == 0 {
		copy(raw, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	for _, tag := range tags {
		raw = append(raw, 0x81, 0x00, byte(tag>>8), byte(tag))
	}
	return append(raw, 0x08, 0x00, 'h', 'i')
}

func TestSwitchPasses(t *testing.T) {
	t.Parallel()
	s := vm.NewSwitch()
	t.Cleanup(s.Close)
	all := port(t, s, "all", vm.PortOptions{})
	some := port(t, s, "some", vm.PortOptions{VLANs: []uint16{0, 20}})
	ten := port(t, s, "ten", vm.PortOptions{Access: 10})
	tenToo := port(t, s, "ten too", vm.PortOptions{Access: 10})
	ports := []*vm.Port{all, some, ten, tenToo}
	// The order matters: the switch learns.
	steps := []struct {
		name string
		from *vm.Port
		raw  []byte
		want map[string][]byte
	}{
		{"to all, untagged", all, frame(0, 1), map[string][]byte{"some": frame(0, 1)}},
		{"to all, tagged 10", all, frame(0, 1, 10), map[string][]byte{"ten": frame(0, 1), "ten too": frame(0, 1)}},
		{"to all, tagged 20", all, frame(0, 1, 20), map[string][]byte{"some": frame(0, 1, 20)}},
		{"to one, from an access port", ten, frame(1, 3), map[string][]byte{"all": frame(1, 3, 10)}},
		{"to one, tagged 10", all, frame(3, 1, 10), map[string][]byte{"ten": frame(3, 1)}},
		{"to one of whom another VLAN knows", all, frame(3, 1, 20), map[string][]byte{"some": frame(3, 1, 20)}},
		{"two tags", all, frame(0, 1, 10, 7), map[string][]byte{"ten": frame(0, 1, 7), "ten too": frame(0, 1, 7)}},
		{"a tag into an access port", ten, frame(0, 3, 10), nil},
		{"what a trunk does not carry", some, frame(0, 2, 10), nil},
		{"too short", all, frame(0, 1)[:13], nil},
		{"moved", tenToo, frame(1, 3), map[string][]byte{"all": frame(1, 3, 10)}},
		{"to one who has moved", all, frame(3, 1, 10), map[string][]byte{"ten too": frame(3, 1)}},
	}
	for _, step := range steps {
		step.from.Send(step.raw)
		got := map[string][]byte{}
		for _, p := range ports {
			if raw := receive(t, p); raw != nil {
				got[p.Name] = raw
			}
		}
		if step.want == nil {
			step.want = map[string][]byte{}
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

// receive is what has been sent out of a port, nil when nothing is: a mark is sent behind it.
func receive(t *testing.T, p *vm.Port) []byte {
	t.Helper()
	mark := []byte("mark")
	p.Deliver(mark)
	var got []byte
	for {
		raw, err := p.Receive(time.Now().Add(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(raw, mark) {
			return got
		}
		if got != nil {
			t.Errorf("port %s: a second frame: %x", p.Name, raw)
		}
		got = raw
	}
}

func TestSwitchShows(t *testing.T) {
	t.Parallel()
	s := vm.NewSwitch()
	t.Cleanup(s.Close)
	in := port(t, s, "in", vm.PortOptions{Access: 5})
	out := port(t, s, "out", vm.PortOptions{})
	tap := s.Tap()
	s.Filter(func(f vm.Frame) bool { return f.Source()[5] != 1 })
	in.Send(frame(0, 1, 0)[:0])
	in.Send(frame(0, 1))
	in.Send(frame(0, 2))
	if got := receive(t, out); !slices.Equal(got, frame(0, 2, 5)) {
		t.Errorf("passed on: %x", got)
	}
	var got []string
	for _, f := range tap.Frames() {
		got = append(got, f.String())
	}
	want := []string{
		"in: 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, type 0x0800, tags [5], 20 bytes",
		"in: 02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff, type 0x0800, tags [5], 20 bytes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	go in.Send(frame(9, 3))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	f, err := tap.Await(ctx, func(f vm.Frame) bool { return f.Destination()[5] == 9 })
	if err != nil || string(f.Payload()) != "hi" || f.VLAN != 5 {
		t.Errorf("awaited %v, %v", f, err)
	}
	tap.Close()
	in.Send(frame(0, 4))
	if n := len(tap.Frames()); n != 3 {
		t.Errorf("%d frames, want 3: none after the end of the recording", n)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := tap.Await(ended, func(vm.Frame) bool { return false }); err == nil {
		t.Error("what never comes was awaited without error")
	}
}

func port(t *testing.T, s *vm.Switch, name string, o vm.PortOptions) *vm.Port {
	t.Helper()
	p, err := s.Port(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSwitchLoses shows that a port that nobody reads holds up nobody.
func TestSwitchLoses(t *testing.T) {
	t.Parallel()
	s := vm.NewSwitch()
	t.Cleanup(s.Close)
	from := port(t, s, "from", vm.PortOptions{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
	port(t, s, "deaf", vm.PortOptions{})
	ears := port(t, s, "ears", vm.PortOptions{})
	if from.MAC().String() != "02:00:00:00:00:01" || ears.MAC().String() == port(t, s, "more", vm.PortOptions{}).MAC().String() {
		t.Error("addresses are not those asked for, or not different")
	}
	for range 5000 {
		from.Send(frame(0, 1))
		if _, err := ears.Receive(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartWithoutImage(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, err := vm.Start(t.Context(), vm.Options{Images: empty})
	want := fmt.Sprintf("read an image (make vm makes it): open %s/6.12/image.json: no such file or directory", empty)
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := vm.Boot(t.Context(), vm.Options{Shares: []string{"/no/such/folder"}}, vm.Streams{}, "true"); err == nil {
		t.Error("a share that is not there was taken")
	}
	if _, err := vm.Boot(t.Context(), vm.Options{}, vm.Streams{}); err == nil {
		t.Error("no command was taken")
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
