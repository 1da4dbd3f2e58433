package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/hook/oci"
)

// Runtimes take their arguments in two manners:
//
//	runc, runsc, youki …   Go's: -b DIR, --b DIR, -bundle DIR, --bundle DIR, each also with "=" and, with runc, behind
//	                       the id
//	crun                   GNU argp's: -b DIR, -bDIR, -dbDIR, --bundle DIR, --bundle=DIR, --bun DIR, before or behind the id
//
// What one of them does not take it refuses itself, so only what both take and read differently matters: -bundle is the
// folder "undle" to crun.
type manner uint8

const (
	golang manner = iota
	argp
)

// mannerOf is that of the runtime with this path.
func mannerOf(runtime string) manner {
	if strings.Contains(runtime[strings.LastIndexByte(runtime, '/')+1:], "crun") {
		return argp
	}
	return golang
}

// call is a runtime's command line.
type call struct {
	// args are for the real runtime: all but what is ours.
	args []string
	// profile is the value of --lanhook-profile, "" for none.
	profile string
	// log is what --log and --log-format say.
	log oci.Log
	// command is the runtime's command, "" for none, and rest what stands behind it.
	command string
	rest    []string
}

// creates says whether the command makes a container of a bundle.
func (c call) creates() bool { return slices.Contains([]string{"create", "run", "restore"}, c.command) }

// profileFlag is the one argument that is ours. It stands before the command.
const profileFlag = "lanhook-profile"

// globals are the options before the command that have a value, those of runc, crun and youki.
func globals() []string {
	return []string{
		profileFlag, "log", "log-format", "log-level", "root", "criu", "rootless", "cgroup-manager", "l", "r",
	}
}

// switches are those without one.
func switches() []string {
	return []string{"debug", "help", "systemd-cgroup", "usage", "version", "h", "s", "v", "V"}
}

// commands are those of runc and crun. They are looked up only behind an option that is not known.
func commands() []string {
	return []string{
		"checkpoint", "create", "delete", "events", "exec", "features", "help", "init", "kill", "list", "mounts", "pause",
		"ps", "restore", "resume", "run", "spec", "start", "state", "update",
	}
}

// parse finds the command among a runtime's arguments, and takes out what is ours.
func parse(args []string) (call, error) {
	var c call
	unknown := false
	for i := 0; i < len(args); i++ {
		o, ok := optionOf(args[i])
		if !ok {
			// Behind an option that is not known, a word that is no command is that option's value.
			if unknown && !slices.Contains(commands(), args[i]) {
				unknown = false
				c.args = append(c.args, args[i])
				continue
			}
			c.command, c.rest = args[i], args[i+1:]
			c.args = append(c.args, args[i:]...)
			return c, nil
		}
		if o.name == "" { // "--" ends the options
			c.args = append(c.args, args[i:]...)
			if i+1 < len(args) {
				c.command, c.rest = args[i+1], args[i+2:]
			}
			return c, nil
		}
		name, known := resolve(o.name, slices.Concat(globals(), switches()))
		has := slices.Contains(globals(), name)
		unknown = !known && !o.hasValue
		from := i
		if has && !o.hasValue && i+1 < len(args) {
			i++
			o.value, o.hasValue = args[i], true
		}
		switch name {
		case profileFlag:
			if o.value == "" {
				return c, fmt.Errorf("--%s names no profile", profileFlag)
			}
			c.profile = o.value
			continue
		case "log":
			c.log.Path = o.value
		case "log-format":
			c.log.Format = o.value
		}
		c.args = append(c.args, args[from:i+1]...)
	}
	return c, nil
}

// option is one word that begins with a dash.
type option struct {
	name, value string
	// hasValue says that the value was in the same word, behind "=".
	hasValue bool
}

// optionOf reads -NAME, --NAME, and both with =VALUE. ok is false for a word that is no option, also for "-" alone.
func optionOf(word string) (o option, ok bool) {
	if len(word) < 2 || word[0] != '-' {
		return option{}, false
	}
	o.name, o.value, o.hasValue = strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	return o, true
}

// resolve finds the whole name of an option: itself, or with crun the only one that begins so.
func resolve(name string, names []string) (whole string, ok bool) {
	if slices.Contains(names, name) {
		return name, true
	}
	for _, n := range names {
		if !strings.HasPrefix(n, name) || n == profileFlag {
			continue
		}
		if ok {
			return "", false
		}
		whole, ok = n, true
	}
	return whole, ok
}

// target is what create, run and restore are told.
type target struct {
	// bundle is the bundle's folder as it was written, "" for the working folder.
	bundle string
	// config is crun's --config: another configuration than config.json in the bundle, "" for that one.
	config string
	// id is the container's, for messages.
	id string
}

// valued are the options of create, run and restore that have a value.
func valued() []string {
	return []string{
		"bundle", "config", "console-socket", "empty-ns", "image-path", "lsm-mount-context", "lsm-profile",
		"manage-cgroups-mode", "parent-path", "pid-file", "pidfd-socket", "preserve-fds", "work-path", "b", "f",
	}
}

// flags are those without one. They are named because they keep an abbreviation from being another's.
func flags() []string {
	return []string{
		"auto-dedup", "detach", "ext-unix-sk", "file-locks", "help", "keep", "lazy-pages", "no-new-keyring", "no-pivot",
		"no-subreaper", "shell-job", "tcp-established", "usage", "version",
	}
}

// target reads the arguments of create, run or restore. Of an option that is there several times, the last one counts.
func (c call) target(m manner) (target, error) {
	var t target
	for i := 0; i < len(c.rest); i++ {
		word := c.rest[i]
		o, ok := optionOf(word)
		switch {
		case !ok && t.id == "":
			t.id = word
			continue
		case !ok:
			continue
		case o.name == "":
			if t.id == "" && i+1 < len(c.rest) {
				t.id = c.rest[i+1]
			}
			return t, nil
		case m == argp && word[1] != '-':
			if o, ok = cluster(word[1:]); !ok {
				continue
			}
		default:
			name, known := resolve(o.name, slices.Concat(valued(), flags()))
			if !known || !slices.Contains(valued(), name) {
				continue
			}
			o.name = name
		}
		if !o.hasValue {
			if i++; i == len(c.rest) {
				return t, fmt.Errorf("the option %.80q has no value", word)
			}
			o.value = c.rest[i]
		}
		switch o.name {
		case "bundle", "b":
			t.bundle = o.value
		case "config", "f":
			if m == argp {
				t.config = o.value
			}
		}
	}
	return t, nil
}

// cluster reads crun's one-letter options in one word. ok is false when none of them has a value.
func cluster(letters string) (o option, ok bool) {
	i := strings.IndexAny(letters, "bf")
	if i < 0 {
		return option{}, false
	}
	return option{name: letters[i : i+1], value: letters[i+1:], hasValue: i+1 < len(letters)}, true
}
