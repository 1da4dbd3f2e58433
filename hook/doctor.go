package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/shim/config"
)

// programs is where the programs of another host are looked for. On this one they lie beside this program.
const programs = "/usr/local/bin"

func (a *app) doctorCmd() *command {
	var root string
	return &command{
		use:   "doctor",
		short: "Look for what lets containers start without their network, and say what to do",
		long: `Look at the configuration of every engine, at the policy, the state directory and the kernel, and at the links, subnets
and hypervisor that networks on LANs depend on, and say what lets containers start without their network, keeps them from
starting or from being reached. Exit code 1 when anything does. Nothing is changed; the kernel is tried in a network
namespace of its own, and the LANs are asked whether somebody else has addresses of containers that run.`,
		run: func(ctx context.Context, _ []string) error { return a.doctor(ctx, root) },
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&root, "root", "", "look at the files below `DIR`, another host's, and at files only")
		},
	}
}

func (a *app) doctor(ctx context.Context, root string) error {
	dir := programs
	if root == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		dir = filepath.Dir(self)
	}
	files := engine.Files{Root: root}
	p, finding := a.policyFinding(root)
	found := []engine.Finding{finding}
	if root == "" {
		found = append(found, userFinding(), a.stateFinding())
		found = append(found, kernelFindings(p)...)
		found = append(found, rulesFindings(ctx, files, p)...)
		if p == nil {
			found = withoutNetworks(found)
		} else {
			found = append(found, lanFindings(ctx, files, p)...)
		}
		found = append(found, a.conflictFindings(ctx)...)
	}
	found = append(found, hypervisorFindings(files, p)...)
	found = append(found, unitFinding(files))
	doctor := engine.Doctor{Files: files, Programs: dir, Settings: settings(files)}
	found = append(found, doctor.Look()...)
	if err := a.printDoctor(found); err != nil {
		return err
	}
	for _, f := range found {
		if f.Level == engine.Fail {
			return &quietError{exitFailed}
		}
	}
	return nil
}

// withoutNetworks are findings without those that would say of networks, which nobody can read, that all is well with them.
func withoutNetworks(found []engine.Finding) []engine.Finding {
	found = slices.DeleteFunc(found, func(f engine.Finding) bool { return f.Check == checkForwarding && f.Level == engine.OK })
	return append(found, engine.Finding{
		Check: checkParent, Level: engine.Warn, Means: "parents, subnets and forwarding of networks were not looked at without a policy",
		Do: "mend the policy, and run lanhook doctor again",
	})
}

// settings are what runtime.toml says of programs.
func settings(files engine.Files) engine.Settings {
	c, err := config.Load(files.Path(config.Path))
	s := engine.Settings{
		Runtime: c.Runtime, Shim: c.Shim, Lanhook: c.Lanhook, Usual: config.Runtimes(), Profiles: map[string]string{}, Err: err,
	}
	for name, profile := range c.Profiles {
		s.Profiles[name] = profile.Runtime
	}
	return s
}

func (a *app) printDoctor(found []engine.Finding) error {
	if a.json {
		return a.printJSON(found)
	}
	var rows [][]string
	for _, f := range found {
		rows = append(rows, []string{string(f.Level), f.Check, f.Means})
		if f.Do != "" {
			rows = append(rows, []string{"", "", "do: " + f.Do})
		}
	}
	return a.printTable([]string{"", "CHECK", "FOUND"}, rows)
}

// policyFinding says whether the policy can decide anything. It gives the policy, nil for one that cannot be read.
func (a *app) policyFinding(root string) (*policy.Policy, engine.Finding) {
	f := engine.Finding{Check: "policy", Level: engine.Fail}
	load := func() (*policy.Policy, error) { return policy.Load(a.policy) }
	if root != "" && a.policy == "" {
		load = func() (*policy.Policy, error) { return policy.LoadBelow(root) }
	}
	p, err := load()
	switch {
	case err != nil:
		f.Means, f.Do = oneLine(err)+": every request is refused", cmp.Or(hintOf(err), "see lanhook policy check")
	case len(p.Rules) == 0:
		f.Level, f.Means, f.Do = engine.Warn, "the policy has no rule: every request is refused", "write a [[rule]]"
	default:
		f.Level, f.Means = engine.OK, fmt.Sprintf("%s, %s", count(len(p.Networks), "network"), count(len(p.Rules), "rule"))
	}
	return p, f
}

// userFinding says whether this process has the rights that the hook needs, as far as it is told.
func userFinding() engine.Finding {
	if id := os.Geteuid(); id != 0 {
		return engine.Finding{
			Check: "user", Level: engine.Warn, Means: fmt.Sprintf("this is user %d: what only root sees was not looked at", id),
			Do: "run lanhook doctor as root",
		}
	}
	return engine.Finding{Check: "user", Level: engine.OK, Means: "root"}
}

// stateFinding says whether the state ends with the boot, as namespaces do.
func (a *app) stateFinding() engine.Finding {
	f := engine.Finding{Check: "state", Level: engine.Warn}
	var st unix.Statfs_t
	err := unix.Statfs(a.stateDir, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Level, f.Means = engine.OK, a.stateDir+" is not there yet"
	case err != nil:
		f.Means, f.Do = fmt.Sprintf("%s cannot be looked at: %s", a.stateDir, err), "run lanhook doctor as root"
	case uint32(st.Type) != unix.TMPFS_MAGIC && uint32(st.Type) != unix.RAMFS_MAGIC: //nolint:gosec // G115: a signed word on 32 bits
		f.Means = a.stateDir + " is not on a tmpfs: it outlives the boot, and each attach waits for the disk"
		f.Do = "take the default, /run/lanhook, or mount a tmpfs there"
	default:
		f.Level, f.Means = engine.OK, a.stateDir+" is on a tmpfs"
	}
	return f
}

// kernelFindings say what links the kernel can make.
func kernelFindings(p *policy.Policy) []engine.Finding {
	probed, err := kernel.Probe()
	if err != nil {
		return []engine.Finding{{
			Check: "kernel", Level: engine.Warn, Means: "no link could be tried: " + oneLine(err), Do: "run lanhook doctor as root",
		}}
	}
	var found []engine.Finding
	for _, k := range probed {
		found = append(found, kindFinding(k, p))
	}
	return found
}

// kindFinding says whether a kind of links can be made, and what does not work without. Not every kernel has VLANs and ipvlan,
// so where the policy asks for neither, their absence is worth a word and no more.
func kindFinding(k kernel.Probed, p *policy.Policy) engine.Finding {
	f := engine.Finding{Check: "kernel", Level: engine.OK, Means: k.Kind + " links can be made"}
	if k.Err == nil {
		return f
	}
	f.Means = fmt.Sprintf("%s links cannot be made: %s", k.Kind, oneLine(k.Err))
	f.Do = "modprobe " + k.Module + ", or take a kernel that has it"
	driver := map[string]policy.Driver{"veth": policy.Bridge, "bridge": policy.Bridge, "macvlan": policy.Macvlan, "ipvlan": policy.IPVLAN}[k.Kind]
	needed := networks(p, func(n *policy.Network) bool {
		return n.Driver == driver || k.Kind == "vlan" && tagged(n)
	})
	switch {
	case len(needed) > 0:
		f.Level = engine.Fail
		f.Means += ": no container gets on " + plural(needed, "the network")
	case p == nil && (k.Kind == "vlan" || k.Kind == "ipvlan"):
		f.Level = engine.Warn
		f.Means += "; without a policy it is not known whether a network needs one"
	case k.Kind == "vlan" || k.Kind == "ipvlan":
		f.Means, f.Do = f.Means+", and no network of the policy needs one", ""
	default:
		f.Level = engine.Fail
		f.Means += fmt.Sprintf(": no container gets on a network with driver = %q", driver)
	}
	return f
}

// tagged says whether a network needs a VLAN sub-interface, unless the host has a link of the parent's name.
func tagged(n *policy.Network) bool {
	_, parent := policy.SplitVLAN(n.Parent.Name)
	_, uplink := policy.SplitVLAN(n.Uplink.Name)
	return len(n.VLAN)+len(parent)+len(uplink) > 0
}

// unitFinding says whether somebody gives back at boot what an earlier one left.
func unitFinding(files engine.Files) engine.Finding {
	const unit = "lanhook-gc.service"
	found := func(pattern string) bool {
		all, err := files.Glob(pattern)
		return err == nil && len(all) > 0
	}
	f := engine.Finding{Check: "unit", Level: engine.Warn}
	there := false
	for _, dir := range []string{"/etc", "/usr/local/lib", "/usr/lib", "/lib"} {
		there = there || found(filepath.Join(dir, "systemd/system", unit))
	}
	switch {
	case !there:
		f.Means, f.Do = unit+" is not installed: what a crash leaves behind stays until lanhook gc", "make install, or run lanhook gc at boot"
	case !found(filepath.Join("/etc/systemd/system/*.wants", unit)):
		f.Means, f.Do = unit+" is not enabled: what a crash leaves behind stays until lanhook gc", "systemctl enable "+unit
	default:
		f.Level, f.Means = engine.OK, unit+" is enabled"
	}
	return f
}
