//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWanted(t *testing.T) {
	const release = "6.1.0-1-amd64"
	for name, want := range map[string]bool{
		"boot/vmlinuz-6.1.0-1-amd64":                                               true,
		"boot/config-6.1.0-1-amd64":                                                false,
		"lib/modules/6.1.0-1-amd64/modules.builtin":                                true,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/net/macvlan.ko":                  true,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/net/bonding/bonding.ko.xz":       true,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/net/ethernet/intel/e1000.ko":     false,
		"lib/modules/6.1.0-1-amd64/kernel/net/8021q/8021q.ko":                      true,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/char/virtio_console.ko":          true,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/gpu/drm/drm.ko":                  false,
		"usr/share/doc/linux-image-6.1.0-1-amd64/changelog.gz":                     false,
		"lib/modules/6.1.0-10-amd64/kernel/net/8021q/8021q.ko":                     false,
		"lib/modules/6.1.0-1-amd64/../../../../etc/passwd":                         false,
		"lib/modules/6.1.0-1-amd64/kernel/drivers/net/ethernet/../../../../passwd": false,
	} {
		if got := wanted(name, release); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

// TestCPIO compares with what cpio --format=newc wrote of a folder and a file.
func TestCPIO(t *testing.T) {
	var archive cpio
	archive.add(entry{name: "dev", mode: modeDir | 0o755})
	archive.add(entry{name: "init", mode: modeFile | 0o755, data: []byte("hello")})
	header := func(inode, mode, size, name string) string {
		const zero = "00000000"
		return "070701" + inode + mode + zero + zero + "00000001" + zero + size + strings.Repeat(zero, 4) + name + zero
	}
	want := header("00000001", "000041ed", "00000000", "00000004") + "dev\x00\x00\x00" +
		header("00000002", "000081ed", "00000005", "00000005") + "init\x00\x00" + "hello\x00\x00\x00" +
		header("00000003", "00000000", "00000000", "0000000b") + "TRAILER!!!\x00\x00\x00\x00"
	if diff := cmp.Diff(want, string(archive.bytes())); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestPayload(t *testing.T) {
	const sectors, offset, length = 2, 16, 12
	image := make([]byte, (sectors+1)*512+offset+length)
	image[0x1f1] = sectors
	binary.LittleEndian.PutUint32(image[0x248:], offset)
	binary.LittleEndian.PutUint32(image[0x24c:], length)
	copy(image[(sectors+1)*512+offset:], "\x28\xb5\x2f\xfdpackSIZE")
	got, err := payloadOf(image)
	if err != nil || string(got) != "\x28\xb5\x2f\xfdpack" {
		t.Errorf("got %q, %v", got, err)
	}
	if args, err := unpacker(got); err != nil || args[0] != "zstd" {
		t.Errorf("unpacked by %v, %v", args, err)
	}
	if _, err := unpacker([]byte("\x02\x21\x4c\x18")); err == nil {
		t.Error("another way of packing was taken")
	}
	for _, broken := range [][]byte{nil, image[:600], image[:len(image)-1]} {
		if _, err := payloadOf(broken); err == nil {
			t.Errorf("%d bytes were taken for a kernel", len(broken))
		}
	}
}

// TestUnknownKernel needs neither packages nor rights.
func TestUnknownKernel(t *testing.T) {
	dir := t.TempDir()
	var stderr strings.Builder
	code := run([]string{"-init", filepath.Join(dir, "init"), "-into", dir, "2.4"}, &stderr)
	if want := "image: kernel 2.4: no package of Debian's is known for it\n"; code != 1 || stderr.String() != want {
		t.Errorf("exit %d, %q, want 1, %q", code, stderr.String(), want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
