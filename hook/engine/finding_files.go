package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/hook/oci"
)

// hooksFolders are those in which podman may be told to look. The first is where it looks anyway.
func hooksFolders() []string {
	return []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"}
}

// podman looks at hooks.d: podman leaves a hook out, silently, whose program is not there.
func (d *Doctor) podman() (string, error) {
	const again = "lanhook setup podman"
	stages := map[string]string{}
	for _, dir := range hooksFolders() {
		files, err := d.Files.Glob(path.Join(dir, "*.json"))
		if err != nil {
			return "", err
		}
		for _, file := range files {
			stage, err := d.hooksFile(file)
			if err != nil {
				d.fail(checkPodman, fmt.Sprintf("%s: %s: podman starts no container at all", file, err), again)
			}
			if stage != "" {
				stages[stage] = file
			}
		}
	}
	switch {
	case len(stages) == 0:
		return "no file in hooks.d calls lanhook", nil
	case stages[oci.CreateRuntime] == "":
		d.fail(checkPodman, "no file in hooks.d calls lanhook at createRuntime: containers start without their network", again)
	case stages[oci.Poststop] == "":
		d.fail(checkPodman, "no file in hooks.d calls lanhook at poststop: nothing is given back before lanhook gc", again)
	}
	return "hooks.d calls lanhook", nil
}

// hooksFile looks at one file of hooks.d. It gives the stage at which it calls lanhook, "" for a file that does not.
func (d *Doctor) hooksFile(file string) (stage string, err error) {
	const again = "lanhook setup podman"
	text, err := d.Files.Read(file)
	if err != nil {
		return "", err
	}
	var f struct {
		Hook struct {
			Path    string   `json:"path"`
			Args    []string `json:"args"`
			Timeout int      `json:"timeout"`
		} `json:"hook"`
	}
	if err := json.Unmarshal(text, &f); err != nil {
		if !strings.Contains(path.Base(file), Name) {
			return "", nil // somebody else's, and podman says it loudly
		}
		return "", errors.New("it is not JSON")
	}
	args := f.Hook.Args
	if path.Base(f.Hook.Path) != Name || len(args) < 3 || args[1] != "hook" {
		return "", nil
	}
	if d.Files.Program(f.Hook.Path) != nil {
		d.fail(checkPodman, fmt.Sprintf("%s names %s, which cannot be run: podman leaves the hook out, and containers start without their network", file, f.Hook.Path), again)
		return args[2], nil
	}
	same := false
	for _, today := range oci.HooksD(oci.Hooks{Path: f.Hook.Path, Args: args[3:], Timeout: f.Hook.Timeout}) {
		same = same || bytes.Equal(today, text)
	}
	if !same {
		d.add(checkPodman, Warn, file+" is not as this version writes it", again)
	}
	return args[2], nil
}

// docker looks at the runtimes of daemon.json.
func (d *Doctor) docker() (string, error) {
	text, err := d.Files.Read(DockerFile)
	if err != nil || text == nil {
		return DockerFile + " is not there", err
	}
	var c struct {
		Runtimes map[string]struct {
			Path    string   `json:"path"`
			Args    []string `json:"runtimeArgs"`
			Type    string   `json:"runtimeType"`
			Options struct {
				BinaryName string `json:"BinaryName"`
			} `json:"options"`
		} `json:"runtimes"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		d.fail(checkDocker, DockerFile+" is not understood: dockerd does not start with it", "mend the file")
		return "", nil
	}
	good := DockerFile + " names no runtime of lanhook"
	for _, name := range slices.Sorted(maps.Keys(c.Runtimes)) {
		r := c.Runtimes[name]
		if program := r.Options.BinaryName; r.Type == shimType && program != "" && !ours(program) {
			d.fail(checkDocker, fmt.Sprintf("the runtime %s of %s names %s, which goes round lanhook's shim: containers start without their network", name, DockerFile, program),
				"take BinaryName out")
		}
		if !ours(r.Path) {
			continue
		}
		good = fmt.Sprintf("%s names lanhook-runtime", DockerFile)
		var e Editor
		if profile, is := profileOf(name); is {
			e = Docker{Runtime: r.Path, Profile: profile}
		}
		d.handled(checkDocker, DockerFile, r.Path, e)
		d.profiles(name, r.Args)
	}
	return good, nil
}

// profiles looks whether runtime.toml has the profiles that a runtime of Docker chooses.
func (d *Doctor) profiles(runtime string, args []string) {
	if d.Settings.Err != nil {
		return // told already
	}
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "--lanhook-profile=")
		if _, there := d.Settings.Profiles[name]; ok && !there {
			d.fail(checkDocker, fmt.Sprintf("the runtime %s chooses the profile %s, which %s does not have", runtime, name, settingsFile),
				fmt.Sprintf("write [profile.%s.annotations] there", name))
		}
	}
}

// crio looks at the runtime handlers of CRI-O.
func (d *Doctor) crio() (string, error) {
	files, err := d.Files.Glob(path.Join(CRIOFolder, "*.conf"))
	if err != nil {
		return "", err
	}
	good := "no runtime handler of lanhook"
	for _, file := range append([]string{crioFile}, files...) {
		text, err := d.Files.Read(file)
		if err != nil {
			return "", err
		}
		root, err := parse(text)
		if err != nil {
			d.fail(checkCRIO, fmt.Sprintf("%s: %s: CRI-O does not start with it", file, err), "mend the file")
			continue
		}
		handlers := root.at("crio", "runtime", "runtimes")
		if handlers == nil {
			continue
		}
		for _, name := range handlers.keys {
			h := handlers.values[name]
			for _, a := range h.strings("allowed_annotations") {
				if strings.HasPrefix(a, "io.lanhook.") {
					d.fail(checkCRIO, fmt.Sprintf("%s allows the annotation %s, which is none of CRI-O's: it does not start with it", file, a), "take it out; CRI-O passes ours on anyway")
				}
			}
			if program := h.string("runtime_path"); ours(program) {
				good = file + " names lanhook-runtime"
				var e Editor
				if file == (CRIO{}).file() {
					e = CRIO{Runtime: program}
				}
				d.handled(checkCRIO, file, program, e)
			}
		}
	}
	return good, nil
}
