//go:build linux

// Command image makes the kernels of the test machine from Debian's packages, which are downloaded and not installed.
//
//	image -init FILE -into DIR [KERNEL...]
//
// A kernel is a line of the table below, all when none is named. In DIR each has a folder:
//
//	6.12/vmlinux    what the boot loader would unpack: a third of a boot is saved
//	     initrd     the first process, and the modules that it needs to reach the host's files
//	     lib/       modules/RELEASE of the package, as far as tests need it, with tables for modprobe
//	     image.json what it was made from: when that is the same, nothing is done
//
// A folder is moved to its place as a whole.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lanhook/lanhook/tests/vm"
)

// source is where a kernel comes from.
type source struct {
	kernel string
	// meta is a package that depends on that of the newest release.
	meta string
}

// sources are the oldest and the newest kernel that Debian 12 has, without its backports. The generic ones: those for
// clouds have no 9p, by which a guest sees the host's files.
func sources() []source {
	return []source{
		{"6.1", "linux-image-amd64"},
		{"6.12", "linux-image-6.12-amd64"},
	}
}

// layout is raised when an image is made in another way than before.
const layout = 1

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	program := flags.String("init", "bin/vm/init", "the first process, a static `program`")
	into := flags.String("into", "bin/vm", "the `folder` of the images")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	kernels := flags.Args()
	if len(kernels) == 0 {
		for _, s := range sources() {
			kernels = append(kernels, s.kernel)
		}
	}
	var wait sync.WaitGroup
	errs := make([]error, len(kernels))
	for i, kernel := range kernels {
		wait.Go(func() {
			b := builder{program: *program, dir: filepath.Join(*into, kernel), log: stderr}
			if err := b.build(context.Background(), kernel); err != nil {
				errs[i] = fmt.Errorf("kernel %s: %w", kernel, err)
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(stderr, "image:", err)
		return 1
	}
	return 0
}

// builder makes one image.
type builder struct {
	// program is the first process, dir where the image is to be.
	program, dir string
	log          io.Writer
}

func (b builder) build(ctx context.Context, kernel string) error {
	name, err := newest(ctx, kernel)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(b.program)
	if err != nil {
		return fmt.Errorf("read the first process: %w", err)
	}
	sum := sha256.Sum256(program)
	want := vm.Image{
		Layout: layout, Package: name, Release: strings.TrimPrefix(name, "linux-image-"), Init: hex.EncodeToString(sum[:8]),
	}
	have, err := vm.ReadImage(b.dir)
	if err == nil && have == want {
		return nil
	}
	samePackage := err == nil && have.Layout == want.Layout && have.Package == want.Package
	fmt.Fprintf(b.log, "image: making %s from %s\n", b.dir, name)
	work := filepath.Join(filepath.Dir(b.dir), "."+filepath.Base(b.dir))
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	err = b.fill(ctx, fresh{want, program, samePackage}, work)
	if err != nil {
		return errors.Join(err, os.RemoveAll(work))
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	return os.Rename(work, b.dir)
}

// fresh is an image to be made.
type fresh struct {
	image   vm.Image
	program []byte
	// again says that only the first process is another one.
	again bool
}

// fill makes the image in a folder beside its own.
func (b builder) fill(ctx context.Context, f fresh, work string) error {
	var err error
	if f.again {
		err = os.Rename(b.dir, work)
	} else {
		err = unpack(ctx, f.image, work)
	}
	if err != nil {
		return err
	}
	if err := writeInitrd(ctx, f.image.Release, work, f.program); err != nil {
		return fmt.Errorf("write the initial archive: %w", err)
	}
	text, err := json.Marshal(f.image)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, vm.ImageFile), append(text, '\n'), 0o644)
}

// newest is the package with the newest release of a kernel. When apt does not know it, its lists are read anew.
func newest(ctx context.Context, kernel string) (string, error) {
	for _, s := range sources() {
		if s.kernel != kernel {
			continue
		}
		name, err := depends(ctx, s)
		if err == nil || os.Getuid() != 0 {
			return name, err
		}
		if _, err := output(ctx, "", "apt-get", "update", "--quiet=2"); err != nil {
			return "", err
		}
		return depends(ctx, s)
	}
	return "", errors.New("no package of Debian's is known for it")
}

func depends(ctx context.Context, s source) (string, error) {
	out, err := output(ctx, "", "apt-cache", "depends", s.meta)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		// 6.1 must not find 6.12.
		if ok && strings.HasPrefix(name, "linux-image-"+s.kernel+".") {
			return name, nil
		}
	}
	return "", fmt.Errorf("package %s does not lead to it: %s", s.meta, strings.TrimSpace(string(out)))
}

// output runs a program and gives what it writes, and what it complains of in the error.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	out, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}
