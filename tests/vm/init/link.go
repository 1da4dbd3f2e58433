//go:build linux

package main

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is struct ifreq of netdevice(7).
type request struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func ask(what uintptr, r *request) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(r))); no != 0 { //nolint:gosec // the kernel reads and writes the structure during the call
		return no
	}
	return nil
}

func turnOn(name string) error {
	var r request
	copy(r.name[:], name)
	if err := ask(unix.SIOCGIFFLAGS, &r); err != nil {
		return err
	}
	r.data[0] |= unix.IFF_UP
	return ask(unix.SIOCSIFFLAGS, &r)
}

func rename(from, to string) error {
	var r request
	copy(r.name[:], from)
	copy(r.data[:unix.IFNAMSIZ], to)
	if err := ask(unix.SIOCSIFNAME, &r); err != nil {
		return fmt.Errorf("name %s %s: %w", from, to, err)
	}
	return nil
}

// nameLinks names the links with these addresses eth0, eth1 and so on, whatever the kernel calls them.
func nameLinks(macs []string) error {
	for i, mac := range macs {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		want, found, taken := fmt.Sprintf("eth%d", i), "", false
		for _, link := range links {
			if link.HardwareAddr.String() == mac {
				found = link.Name
			}
			taken = taken || link.Name == want
		}
		switch {
		case found == "":
			return fmt.Errorf("there is no network card %s", mac)
		case found == want:
			continue
		case taken:
			if err := rename(want, "free"+want[3:]); err != nil {
				return err
			}
		}
		if err := rename(found, want); err != nil {
			return err
		}
	}
	return nil
}
