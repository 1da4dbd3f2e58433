//go:build linux

package vm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// The kernels: the oldest that lanhook is for, and the newest that Debian 12 has.
const (
	Oldest = "6.1"
	Newest = "6.12"
)

// Kernels are all of them.
func Kernels() []string { return []string{Oldest, Newest} }

// Options say what a guest is like. The zero value is good for one without a network.
type Options struct {
	// Kernel is the folder of an image below Images; empty is [Newest].
	Kernel string
	// Images is the folder of the images; empty is bin/vm of the checkout in which the program runs.
	Images string
	// Memory is the guest's, in MiB; 0 is 1024.
	Memory int
	// Hostname is the guest's name; empty is "guest".
	Hostname string
	// Env is added to the environment of every command, as NAME=VALUE. Nothing of the host's environment is in it.
	Env []string
	// Dir is where commands run; empty is the working directory of the program.
	Dir string
	// Shares are folders that the guest may write to. Every other folder it sees as it is at the host when it is
	// started, and what it writes there is lost with it.
	Shares []string
	// Keep are folders that the guest is to see although they lie in one that is empty in it: /tmp, /var/tmp, /run,
	// /var/log and those of container engines below /var/lib. The checkout of Dir and the folder of the command are
	// kept in any case.
	Keep []string
	// Modprobe are modules to load before the command.
	Modprobe []string
	// NICs are the ports of switches that the guest's network cards are connected to; its cards are eth0, eth1 and so
	// on in this order.
	NICs []*Port
	// Timeout is how long the command of [Boot] may take, and how long a guest of [Start] may live; 0 is 30 minutes.
	Timeout time.Duration
}

// withDefaults fills in what is empty, and checks what is not.
func (o Options) withDefaults() (Options, error) {
	if o.Kernel == "" {
		o.Kernel = Newest
	}
	if o.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return o, err
		}
		o.Dir = dir
	}
	if o.Images == "" {
		o.Images = filepath.Join(checkout(o.Dir), "bin", "vm")
	}
	if o.Memory == 0 {
		o.Memory = 1024
	}
	if o.Hostname == "" {
		o.Hostname = "guest"
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Minute
	}
	var err error
	for _, p := range []*string{&o.Dir, &o.Images} {
		if *p, err = resolve(*p); err != nil {
			return o, err
		}
	}
	for _, list := range []*[]string{&o.Shares, &o.Keep} {
		// The caller's list stays as it is.
		*list = slices.Clone(*list)
		for i, dir := range *list {
			if (*list)[i], err = resolve(dir); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

// resolve gives a path that is the same in a guest, in which some links lead into nothing.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// checkout is the top of the checkout that dir is in, else dir.
func checkout(dir string) string {
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, ".git")); err == nil {
			return top
		}
		if top == filepath.Dir(top) {
			return dir
		}
	}
}

// run is what a guest with these options is told.
func (o Options) run(mode spec.Mode, args []string) (spec.Run, error) {
	image, err := ReadImage(filepath.Join(o.Images, o.Kernel))
	if err != nil {
		return spec.Run{}, err
	}
	modules := filepath.Join(o.Images, o.Kernel, "lib", "modules", image.Release)
	keep := slices.Concat(o.Keep, []string{checkout(o.Dir), modules})
	if len(args) > 0 && filepath.IsAbs(args[0]) {
		// Also when it is a link: then the guest needs where it is and where it leads.
		keep = append(keep, filepath.Dir(args[0]))
		if program, err := filepath.EvalSymlinks(args[0]); err == nil {
			keep = append(keep, filepath.Dir(program))
		}
	}
	told := spec.Run{
		Mode: mode, Args: args, Dir: o.Dir, Hostname: o.Hostname, Release: image.Release, Modules: modules,
		Shares: o.Shares, Keep: keep, Modprobe: o.Modprobe,
		Env: slices.Concat([]string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin", "HOME=/root", "LANG=C.UTF-8",
		}, o.Env),
	}
	for _, p := range o.NICs {
		told.MACs = append(told.MACs, p.mac.String())
	}
	if mode == spec.Command {
		told.Timeout = o.Timeout
	}
	for _, text := range slices.Concat(told.Shares, []string{o.Images}) {
		if strings.ContainsAny(text, ",") {
			return told, fmt.Errorf("%s: QEMU takes no folder with a comma in its name", text)
		}
	}
	return told, nil
}

// newMAC is a random address that nobody else has been given (locally administered).
func newMAC() (net.HardwareAddr, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := rand.Read(mac); err != nil {
		return nil, err
	}
	mac[0] = 0x52
	return mac, nil
}

var errNoStart = errors.New("the guest did not start")
