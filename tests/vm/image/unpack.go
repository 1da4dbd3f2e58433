//go:build linux

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/lanhook/lanhook/tests/vm"
)

// unpack makes the kernel and the modules of an image.
func unpack(ctx context.Context, image vm.Image, work string) error {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	file, err := download(ctx, image.Package, work)
	if err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	if err := extract(ctx, file, image.Release, tree); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(file), err)
	}
	if err := unxz(ctx, tree); err != nil {
		return err
	}
	// The package leaves this to its installation.
	if _, err := output(ctx, "", sbin("depmod"), "-b", tree, image.Release); err != nil {
		return err
	}
	packed := filepath.Join(tree, "boot", "vmlinuz-"+image.Release)
	if err := unpackKernel(ctx, packed, filepath.Join(work, "vmlinux")); err != nil {
		return fmt.Errorf("unpack the kernel: %w", err)
	}
	if err := os.Rename(filepath.Join(tree, "lib"), filepath.Join(work, "lib")); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(tree), os.Remove(file))
}

// sbin is where a program is that root has in its PATH and others may not.
func sbin(name string) string {
	if found, err := exec.LookPath(name); err == nil {
		return found
	}
	return "/sbin/" + name
}

func download(ctx context.Context, name, dir string) (string, error) {
	_, err := output(ctx, dir, "apt-get", "download", "--quiet=2", "-o", "APT::Sandbox::User=root", name)
	if err != nil && os.Getuid() == 0 {
		// The lists may be older than what the mirror has.
		if _, updateErr := output(ctx, dir, "apt-get", "update", "--quiet=2"); updateErr != nil {
			return "", errors.Join(err, updateErr)
		}
		_, err = output(ctx, dir, "apt-get", "download", "--quiet=2", "-o", "APT::Sandbox::User=root", name)
	}
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d files", name, len(found))
	}
	return found[0], nil
}

// wanted says whether a file of the package is needed: what has to do with networks, containers and virtual devices.
func wanted(name, release string) bool {
	if name == "boot/vmlinuz-"+release {
		return true
	}
	inside, ok := strings.CutPrefix(name, "lib/modules/"+release+"/")
	if !ok {
		return false
	}
	if strings.HasPrefix(inside, "modules.") {
		return true
	}
	inside, ok = strings.CutPrefix(inside, "kernel/")
	if !ok {
		return false
	}
	for _, folder := range []string{
		"net/", "lib/", "crypto/", "arch/", "fs/9p/", "fs/netfs/", "fs/fscache/", "fs/overlayfs/", "fs/fuse/", "fs/nls/",
		"drivers/virtio/", "drivers/char/hw_random/", "drivers/char/virtio_console.", "drivers/block/loop.", "drivers/vhost/",
		"drivers/net/bonding/", "drivers/net/ipvlan/", "drivers/net/vxlan/", "drivers/net/team/", "drivers/net/wireguard/",
	} {
		if strings.HasPrefix(inside, folder) {
			return true
		}
	}
	// Virtual network cards; those of makers have folders of their own.
	return path.Dir(inside) == "drivers/net"
}

// extract unpacks what is wanted of a package.
func extract(ctx context.Context, file, release, tree string) error {
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	command.Stderr = os.Stderr
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	err = extractTar(pipe, release, tree)
	if err == nil {
		_, err = io.Copy(io.Discard, pipe)
	}
	_ = pipe.Close()
	return errors.Join(err, command.Wait())
}

func extractTar(in io.Reader, release, tree string) error {
	archive := tar.NewReader(in)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Newer releases have the modules below usr.
		name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "./"), "usr/")
		if header.Typeflag != tar.TypeReg || !wanted(name, release) {
			continue
		}
		if err := writeFile(filepath.Join(tree, filepath.FromSlash(name)), archive); err != nil {
			return err
		}
	}
}

func writeFile(name string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}

// unxz unpacks modules that are packed: then the first process can load them, and depmod takes a thirtieth of the time.
func unxz(ctx context.Context, tree string) error {
	var packed []string
	err := filepath.WalkDir(tree, func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".ko.xz") {
			packed = append(packed, name)
		}
		return err
	})
	if err != nil || len(packed) == 0 {
		return err
	}
	half := len(packed) / 2
	errs := make(chan error, 2)
	for _, list := range [][]string{packed[:half], packed[half:]} {
		go func() {
			_, err := output(ctx, "", "xz", append([]string{"--decompress"}, list...)...)
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
}
