//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Files of the ports that the host chooses for its own connections, and of those of them that it leaves alone; see
// ip-sysctl.rst. They are of both families.
const (
	portFolder    = "/proc/sys/net/ipv4"
	ephemeralFile = "ip_local_port_range"
	reservedFile  = "ip_local_reserved_ports"
)

// ephemeral are the ports that the host chooses from, and those of them that it leaves alone.
func (h *Host) ephemeral() (from plan.Ports, reserved []plan.Ports, err error) {
	err = h.do(func() error {
		dir, openErr := h.proc.open(portFolder)
		if openErr != nil {
			return fmt.Errorf("open %s: %w", portFolder, openErr)
		}
		defer unix.Close(dir) //nolint:errcheck // nothing is written to a folder
		if from, err = readRange(dir); err == nil {
			reserved, err = readReserved(dir)
		}
		return err
	})
	return from, reserved, err
}

func readRange(dir int) (plan.Ports, error) {
	raw, err := readAt(dir, ephemeralFile)
	if err != nil {
		return plan.Ports{}, err
	}
	words := strings.Fields(raw)
	if len(words) != 2 {
		return plan.Ports{}, fmt.Errorf("read %s: %q is no range", ephemeralFile, raw)
	}
	r, err := parsePorts(words[0] + "-" + words[1])
	if err != nil {
		return plan.Ports{}, fmt.Errorf("read %s: %w", ephemeralFile, err)
	}
	return r, nil
}

// reservePorts adds ports to the host's list.
func (h *Host) reservePorts(ctx context.Context, s plan.ReservePorts) error {
	return failed(h.changeReserved(ctx, func(set *portSet) { set.put(s.Ports, true) }), "reserve ports")
}

// releasePorts takes ports from the host's list. One that is not there is well.
func (h *Host) releasePorts(ctx context.Context, s plan.ReleasePorts) error {
	return failed(h.changeReserved(ctx, func(set *portSet) { set.put(s.Ports, false) }), "release ports")
}

// changeReserved reads the list, changes it and writes it back. The kernel takes whole lists only, so two that do this
// at once would lose one's change: the file of the host's network namespace is locked meanwhile, which is the same one
// for every process and every /proc, and is let go by the end of a process. An administrator's sysctl(8) does not know
// of it; the list is read again at the end for that.
func (h *Host) changeReserved(ctx context.Context, change func(*portSet)) error {
	return h.do(func() error {
		lock, err := openNamespace(threadNamespace)
		if err != nil {
			return err
		}
		defer lock.close() //nolint:errcheck // nothing was written, and the lock ends
		if err = lockFile(ctx, lock.fd); err != nil {
			return fmt.Errorf("wait for the list of reserved ports: %w", err)
		}
		dir, err := h.proc.open(portFolder)
		if err != nil {
			return fmt.Errorf("open %s: %w", portFolder, err)
		}
		defer unix.Close(dir) //nolint:errcheck // nothing is written to a folder
		for range maxDumps {
			list, err := readReserved(dir)
			if err != nil {
				return err
			}
			var before portSet
			before.add(list)
			after := before
			change(&after)
			if after == before {
				return nil
			}
			if err := writeReserved(dir, after.ranges()); err != nil {
				return err
			}
		}
		return errors.New("somebody else changes them all the time")
	})
}

// lockFile waits for a lock of the file until ctx is done. Whoever has it needs some microseconds.
func lockFile(ctx context.Context, fd int) error {
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		timer := time.NewTimer(time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// portSet has a bit for each port.
type portSet [(math.MaxUint16 + 1) / 64]uint64

func (s *portSet) put(ports []uint16, in bool) {
	for _, p := range ports {
		s[p/64] &^= 1 << (p % 64)
		if in {
			s[p/64] |= 1 << (p % 64)
		}
	}
}

func (s *portSet) add(list []plan.Ports) {
	for _, r := range list {
		for p := int(r.From); p <= int(r.To); p++ {
			s[p/64] |= 1 << (p % 64)
		}
	}
}

func (s *portSet) ranges() []plan.Ports {
	var list []plan.Ports
	for p := 0; p <= math.MaxUint16; p++ {
		if s[p/64]>>(p%64)&1 == 0 {
			continue
		}
		port := uint16(p)
		if n := len(list); n > 0 && int(list[n-1].To)+1 == p {
			list[n-1].To = port
		} else {
			list = append(list, plan.Ports{From: port, To: port})
		}
	}
	return list
}

func readReserved(dir int) ([]plan.Ports, error) {
	raw, err := readAt(dir, reservedFile)
	if err != nil {
		return nil, err
	}
	var list []plan.Ports
	for word := range strings.SplitSeq(strings.TrimSpace(raw), ",") {
		if word == "" {
			continue
		}
		r, err := parsePorts(word)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", reservedFile, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// parsePorts reads "80" and "80-90".
func parsePorts(word string) (plan.Ports, error) {
	from, to, ok := strings.Cut(word, "-")
	if !ok {
		to = from
	}
	a, errFrom := strconv.ParseUint(from, 10, 16)
	b, errTo := strconv.ParseUint(to, 10, 16)
	if errFrom != nil || errTo != nil || a > b {
		return plan.Ports{}, fmt.Errorf("%q is no range of ports", word)
	}
	return plan.Ports{From: uint16(a), To: uint16(b)}, nil
}

// mostReserved is more than the longest list: every second port, with six bytes for each.
const mostReserved = 32768 * 6

// readAt reads a file with one read(2): of a list, the kernel gives nothing to a second one (kernel/sysctl.c,
// proc_do_large_bitmap), and it has to make room for as much as is asked for.
func readAt(dir int, name string) (string, error) {
	for _, size := range []int{4096, mostReserved + 1} {
		fd, err := openAt(dir, name, unix.O_RDONLY)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", name, err)
		}
		buf := make([]byte, size)
		n, err := unix.Read(fd, buf)
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
	return "", fmt.Errorf("read %s: it has more than %d bytes", name, mostReserved)
}

// mostWritten is less than the page that the kernel takes at once. What it is given beyond the first piece of a file it
// adds to the list.
const mostWritten = 4000

func writeReserved(dir int, list []plan.Ports) error {
	var pieces []string
	var piece strings.Builder
	for _, r := range list {
		if piece.Len() > mostWritten {
			pieces = append(pieces, piece.String())
			piece.Reset()
		}
		if piece.Len() > 0 {
			piece.WriteByte(',')
		}
		piece.WriteString(strconv.Itoa(int(r.From)))
		if r.To > r.From {
			piece.WriteString("-" + strconv.Itoa(int(r.To)))
		}
	}
	pieces = append(pieces, piece.String())
	fd, err := openAt(dir, reservedFile, unix.O_WRONLY)
	if err != nil {
		return fmt.Errorf("open %s: %w", reservedFile, err)
	}
	for _, p := range pieces {
		if _, err = unix.Write(fd, []byte(p+"\n")); err != nil {
			break
		}
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("write %s: %w", reservedFile, err)
	}
	return nil
}
