package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The stages at which lanhook is run.
const (
	CreateRuntime = "createRuntime"
	Poststop      = "poststop"
)

// program is the base name by which our hooks are known again.
const program = "lanhook"

// DefaultEnv is the environment of our hooks. It is never left out: runc would give the caller's, and podman an empty one.
// A hook does one thing after another, so that with a second processor Go's runtime would only start threads for nothing:
// a tenth of the processor time that a hook takes.
func DefaultEnv() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1"} }

// Who puts our hooks into a config.json. The hook is told by its flag --by; there is none for [BySetup].
const (
	BySetup   = "setup"
	ByRuntime = "lanhook-runtime"
)

// Hooks is how a runtime shall call lanhook.
type Hooks struct {
	// Path is the program's absolute path. It ends in "lanhook", by which it is known again.
	Path string
	// By is who puts the hooks there, "" for [BySetup].
	By string
	// Args follow "lanhook hook STAGE" and --by, for both stages.
	Args []string
	// Timeout is in seconds and more than 0.
	Timeout int
}

func (h Hooks) check() error {
	bad := func(why string) error { return &Error{Doing: "make the hooks", Why: why} }
	switch {
	case !path.IsAbs(h.Path) || path.Clean(h.Path) != h.Path:
		return bad(fmt.Sprintf("%.80q is no absolute path", h.Path))
	case path.Base(h.Path) != program:
		return bad(fmt.Sprintf("the program %.80q is not named %s", h.Path, program))
	case h.Timeout <= 0:
		return bad(fmt.Sprintf("the timeout is %d seconds", h.Timeout))
	}
	return nil
}

// hook is the entry of one stage.
func (h Hooks) hook(stage string) specs.Hook {
	args := []string{program, "hook", stage}
	if h.By != "" && h.By != BySetup {
		args = append(args, "--by", h.By)
	}
	return specs.Hook{Path: h.Path, Args: append(args, h.Args...), Env: DefaultEnv(), Timeout: &h.Timeout}
}

// isOurs says whether an entry of a hook list runs lanhook, be it another version or in another place: the path ends in
// "lanhook" and the first argument, behind the program's own name, is "hook".
func isOurs(entry json.RawMessage) (bool, error) {
	var h struct {
		Path string   `json:"path"`
		Args []string `json:"args"`
	}
	if err := json.Unmarshal(entry, &h); err != nil {
		return false, err
	}
	return path.Base(h.Path) == program && len(h.Args) >= 2 && h.Args[1] == "hook", nil
}

// HooksBy is who put hooks of ours into a config.json: the word of their flag --by, or [BySetup] without it; "" where
// there are none. It changes nothing and refuses nothing, so a config.json that cannot be read has none.
func HooksBy(config []byte) string {
	var c struct {
		Hooks map[string][]json.RawMessage `json:"hooks"`
	}
	if json.Unmarshal(config, &c) != nil {
		return ""
	}
	for _, list := range lists() {
		for _, entry := range c.Hooks[list] {
			if ours, err := isOurs(entry); err == nil && ours {
				return byOf(entry)
			}
		}
	}
	return ""
}

// byOf is the flag --by of an entry of ours, which the hook takes in both forms.
func byOf(entry json.RawMessage) string {
	var h specs.Hook
	if json.Unmarshal(entry, &h) != nil {
		return BySetup
	}
	for i, arg := range h.Args {
		if by, ok := strings.CutPrefix(arg, "--by="); ok {
			return by
		}
		if arg == "--by" && i+1 < len(h.Args) {
			return h.Args[i+1]
		}
	}
	return BySetup
}

// HooksD are the files for podman's and CRI-O's hooks.d folder, by file name: one for each stage, since the stage is an
// argument (oci-hooks(5), version 1.0.0). They apply to containers with an annotation of ours and to no others. The
// expressions of "when" match anywhere in the text unless they are anchored.
func HooksD(h Hooks) map[string][]byte {
	type when struct {
		Annotations map[string]string `json:"annotations"`
	}
	type file struct {
		Version string     `json:"version"`
		Hook    specs.Hook `json:"hook"`
		When    when       `json:"when"`
		Stages  []string   `json:"stages"`
	}
	text := func(stage string) []byte {
		return encode(file{
			Version: "1.0.0", Hook: h.hook(stage), When: when{map[string]string{`^"?io\.lanhook\.`: ".*"}},
			Stages: []string{stage},
		}, "  ")
	}
	return map[string][]byte{
		"00-lanhook-createruntime.json": text(CreateRuntime),
		"00-lanhook-poststop.json":      text(Poststop),
	}
}

// encode writes v, which holds nothing that JSON cannot, without escaping <, > and &.
func encode[T any](v T, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	// Texts, numbers and lists of them: there is nothing to fail on, and a buffer takes every write.
	if err := e.Encode(v); err != nil {
		return nil
	}
	return b.Bytes()
}
