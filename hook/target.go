package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// maxStateFile bounds what is read of a runtime's state file.
const maxStateFile = 4 << 20

func byProcess(id string, pid int) (netsetup.Container, error) {
	p, err := process.Find(pid)
	if err != nil {
		return netsetup.Container{}, err
	}
	return netsetup.Container{
		ID:      id,
		NetNS:   fmt.Sprintf("/proc/%d/ns/net", pid),
		Process: p,
		Subject: policy.Subject{CGroup: cgroupOf(pid)},
	}, nil
}

// stateFiles are where runtimes keep what they know of a running container: runc and crun on their own and under
// containerd, Docker, podman and CRI-O. A * stands for the engine's namespace.
func stateFiles(id string) []string {
	return []string{
		"/run/runc/" + id + "/state.json",
		"/run/crun/" + id + "/status",
		"/run/containerd/runc/*/" + id + "/state.json",
		"/run/containerd/io.containerd.runtime.v2.task/*/" + id + "/init.pid",
		"/run/docker/runtime-runc/*/" + id + "/state.json",
		"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*/" + id + "/init.pid",
		"/run/containers/storage/overlay-containers/" + id + "/userdata/pidfile",
		"/run/containers/storage/vfs-containers/" + id + "/userdata/pidfile",
	}
}

// runtimePID asks the runtimes' own state for the first process of a container, and for its engine where that is seen.
func runtimePID(id string) (pid int, engine string, err error) {
	if strings.ContainsAny(id, "/*?[\\") {
		return 0, "", &notRunningError{id}
	}
	patterns := stateFiles(id)
	if isShort(id) {
		patterns = append(patterns, stateFiles(id+"*")...)
	}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return 0, "", fmt.Errorf("look for container %s: %w", id, err)
		}
		if len(paths) > 1 && strings.Contains(pattern, id+"*") {
			return 0, "", ambiguous(id)
		}
		for _, path := range paths {
			if pid := pidIn(path); pid > 0 {
				return pid, engineOf(path), nil
			}
		}
	}
	return 0, "", &notRunningError{id}
}

// engineOf tells Docker by a path below its runtime's or containerd's folders, or by the mount of a namespace of its
// own; "" is any other engine.
func engineOf(path string) string {
	path = strings.TrimPrefix(path, "/var")
	if strings.HasPrefix(path, "/run/docker/") || strings.HasPrefix(path, "/run/containerd/") && strings.Contains(path, "/moby/") {
		return oci.Docker
	}
	return ""
}

// isShort says whether a word can be the beginning of an id that an engine made, as its lists show it: 12 hexadecimal
// digits.
func isShort(word string) bool {
	const shown = 12
	return len(word) >= shown && strings.Trim(word, "0123456789abcdef") == ""
}

type notRunningError struct{ id string }

func (e *notRunningError) Error() string {
	return fmt.Sprintf("no runtime on this host says that container %q runs", e.id)
}

func (e *notRunningError) Hint() string {
	return "give its id, which is not the name that Docker or podman have for it, the id of its first process, or the path of " +
		"its network namespace"
}

// pidIn reads a process id from a runtime's state: JSON of runc or crun, or the bare number. 0 is none.
func pidIn(path string) int {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxStateFile {
		return 0
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
		return pid
	}
	var state struct {
		Runc      int    `json:"init_process_pid"`
		RuncStart uint64 `json:"init_process_start"`
		Crun      int    `json:"pid"`
		CrunStart uint64 `json:"process-start-time"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return 0
	}
	pid, start := max(state.Runc, state.Crun), max(state.RuncStart, state.CrunStart)
	if p, err := process.Find(pid); err == nil && start != 0 && p.Start != start {
		return 0 // the state of a container that is gone, whose process's number was given again
	}
	return pid
}

// asked are the flags that stand for annotations.
type asked struct {
	annotations []string
	networks    []string
	name        string
}

// annotated makes annotations of the flags: --annotation KEY=VALUE, --network [IFNAME:]VALUE, --name NAME.
func (f asked) annotated(into map[string]string) error {
	for _, word := range f.annotations {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return &usageError{msg: fmt.Sprintf("--annotation %q is not KEY=VALUE", word)}
		}
		into[key] = value
	}
	for _, word := range f.networks {
		key := request.Prefix + "network"
		if hasIfName(word) {
			ifname, value, _ := strings.Cut(word, ":")
			key, word = key+"."+ifname, value
		}
		if _, twice := into[key]; twice {
			return &usageError{msg: fmt.Sprintf("two networks for %s", key), hint: "name the interfaces: --network eth1:lan"}
		}
		into[key] = word
	}
	if f.name != "" {
		into[request.Prefix+"name"] = f.name
	}
	return nil
}

// request completes a container with what it asks for.
func (f asked) request(c *netsetup.Container, annotations map[string]string) error {
	if annotations == nil {
		annotations = map[string]string{}
	}
	if err := f.annotated(annotations); err != nil {
		return err
	}
	req, err := request.ParseFor(cmp.Or(c.Subject.Engine, c.Runtime), annotations)
	if err != nil {
		return err
	}
	if req.Empty() {
		return &usageError{msg: "nothing is asked for", hint: "name a network: --network lan"}
	}
	c.Request = req
	c.Subject.ID, c.Subject.Annotations = c.ID, annotations
	name, named := oci.Workload(req.Name, annotations, c.ID, c.Subject.Engine)
	if c.Workload == "" || req.Name != "" {
		c.Workload = name
	}
	c.Subject.Name, c.Subject.Named = c.Workload, named && c.Workload == name
	return nil
}

// hasIfName says whether a --network names the interface before a colon.
func hasIfName(word string) bool {
	ifname, _, ok := strings.Cut(word, ":")
	return ok && !strings.ContainsAny(ifname, ",={")
}
