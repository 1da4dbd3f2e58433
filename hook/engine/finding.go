package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	// OK is as it should be.
	OK Level = "ok"
	// Warn is probably not as it was meant.
	Warn Level = "warn"
	// Fail lets containers start without their network, or keeps them from starting.
	Fail Level = "fail"
)

// Finding is one thing that was looked at.
type Finding struct {
	// Check is the name of the check, which stays the same over versions.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Means is one sentence: what was found in which file, and what follows from it.
	Means string `json:"means"`
	// Do is what mends it, "" where nothing has to be done.
	Do string `json:"do,omitempty"`
}

// The names of the checks of this package.
const (
	checkPodman     = "podman"
	checkContainerd = "containerd"
	checkDocker     = "docker"
	checkCRIO       = "crio"
	checkRuntime    = "runtime"
	checkShim       = "shim"
)

// Doctor looks at the files of all engines.
type Doctor struct {
	Files Files
	// Programs is the folder in which our programs were installed.
	Programs string
	Settings Settings

	found []Finding
}

// Look runs every check. A check that finds nothing amiss says so, in one finding.
func (d *Doctor) Look() []Finding {
	d.found = nil
	for _, c := range []struct {
		name string
		look func() (string, error)
	}{
		{checkRuntime, d.runtime},
		{checkShim, d.shim},
		{checkPodman, d.podman},
		{checkContainerd, d.containerd},
		{checkDocker, d.docker},
		{checkCRIO, d.crio},
	} {
		before := len(d.found)
		good, err := c.look()
		if err != nil {
			d.fail(c.name, plainly(err), "mend the file")
		}
		if len(d.found) == before {
			d.add(c.name, OK, good, "")
		}
	}
	return d.found
}

func (d *Doctor) add(check string, level Level, means, do string) {
	d.found = append(d.found, Finding{check, level, means, do})
}

func (d *Doctor) fail(check, means, do string) { d.add(check, Fail, means, do) }

// program adds a finding when what an engine names cannot be run.
func (d *Doctor) program(check, what, program, then, do string) {
	if err := d.Files.Program(program); err != nil {
		d.fail(check, fmt.Sprintf("%s names %s, which cannot be run: %s", what, program, then), do)
	}
}

// handled adds what is the same for every engine that names our runtime: that the program is there, and that setup would
// change nothing. e is that setup, nil for a runtime that is not by setup.
func (d *Doctor) handled(check, file, program string, e Editor) {
	again := "lanhook setup " + check
	if e == nil {
		again = "mend the path there"
	}
	if docker, ok := e.(Docker); ok && docker.Profile != "" {
		again += " --profile " + docker.Profile
	}
	before := len(d.found)
	if path.IsAbs(program) {
		d.program(check, file, program, "no container of that runtime starts", again)
	} else {
		d.add(check, Warn, fmt.Sprintf("%s names %q, which is looked for in the engine's PATH", file, program), again)
	}
	if len(d.found) > before || e == nil {
		return
	}
	if plan, err := e.Setup(d.Files); err == nil && !plan.None() {
		d.add(check, Warn, fmt.Sprintf("what %s says of lanhook is of another version, or other options changed since", file), again)
	}
}

// plainly says what is wrong with a file, without that it is therefore not edited.
func plainly(err error) string {
	if byHand, ok := errors.AsType[*HandError](err); ok {
		return byHand.Path + ": " + byHand.Why
	}
	return err.Error()
}

// ours says whether a program is our runtime, by its name.
func ours(program string) bool { return path.Base(program) == runtimeProgram }

// passes says whether an allow-list of CRI lets our annotations through.
func passes(patterns []string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, "io.lanhook.network"); err == nil && ok {
			return true
		}
	}
	return false
}

// shimType is the runtime type by which containerd finds our shim, and shimProgram what it looks for.
const (
	shimType    = "io.containerd.lanhook.v2"
	shimProgram = "containerd-shim-lanhook-v2"
)

// shim looks at the folder in which our runtime is called runc.
func (d *Doctor) shim() (string, error) {
	program := path.Join(d.Programs, shimProgram)
	if d.Files.Program(program) != nil {
		return program + " is not installed", nil
	}
	const none = "no container of " + shimType + " starts"
	link := path.Join(path.Dir(d.Programs), "lib/lanhook/bin/runc")
	// The link alone is looked at, since that of another host leads to a file of this one. The runtime is looked for
	// where it is installed.
	if to, err := os.Readlink(d.Files.Path(link)); err != nil || !ours(to) {
		d.fail(checkShim, fmt.Sprintf("%s is no link to lanhook-runtime: %s", link, none),
			fmt.Sprintf("install lanhook again, or ln -sfn ../../../bin/%s %s", runtimeProgram, link))
	}
	d.program(checkShim, link, path.Join(d.Programs, runtimeProgram), none, "install lanhook again")
	// One that is not named is looked for beside the containerd that calls, which is not known here.
	if named := d.Settings.Shim; named != "" {
		d.program(checkShim, settingsFile, named, none, "say another shim there, or none: it is found beside containerd")
	}
	return program + " finds lanhook-runtime by " + link, nil
}
