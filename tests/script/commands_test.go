//go:build linux

package script

import (
	"encoding/json"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lanhook/lanhook/tests/nettest"
)

// patience bounds the wait for what happens at once on a machine that is not busy.
const patience = 10 * time.Second

// command is one of ours. It is given its script's world and at least as many arguments as its usage has in capitals.
type command struct {
	usage string
	run   func(w *world, ts *testscript.TestScript, args []string)
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for _, c := range []command{
		{"container NAME key=value…", (*world).container},
		{"state NAME PID key=value…", func(_ *world, ts *testscript.TestScript, args []string) {
			pid, err := strconv.Atoi(args[1])
			ts.Check(err)
			writeState(ts, args[0], pid, args[2:])
		}},
		{"end NAME", func(w *world, ts *testscript.TestScript, args []string) { w.space(ts, args[0]).End() }},
		{"exits CODE PROGRAM arg…", (*world).exits},
		{"in NAME PROGRAM arg…", func(w *world, ts *testscript.TestScript, args []string) {
			if code := w.run(ts, args[0], args[1], args[2:]...); code != 0 {
				ts.Fatalf("exit code %d", code)
			}
		}},
		{"hook CODE STAGE NAME flag…", func(w *world, ts *testscript.TestScript, args []string) {
			w.exits(ts, slices.Concat(args[:1], hook(`exec "$@"`, args[1:])))
		}},
		{"lanhook CODE ARG arg…", func(w *world, ts *testscript.TestScript, args []string) {
			w.exits(ts, slices.Concat(args[:1], lanhook(args[1:]...)))
		}},
		{"begin JOB KIND STAGE NAME flag…", (*world).begin},
		{"watched JOB", (*world).watched},
		{"murder JOB", (*world).murder},
		{"finish JOB CODE code…", (*world).finish},
		{"until PATTERN PROGRAM arg…", (*world).until},
		{"listen NETWORK ADDRESS", (*world).listen},
		{"unlisten", (*world).unlisten},
		{"mask", func(_ *world, ts *testscript.TestScript, _ []string) { mask(ts) }},
		{"same", func(w *world, _ *testscript.TestScript, _ []string) { w.net.Host.Same(w.t) }},
		{"remember", func(w *world, _ *testscript.TestScript, _ []string) { w.net.Host.Remember(w.t) }},
		{"nobody", (*world).nobody},
		{"fs OPTION option…", (*world).fs},
		{"version N", (*world).version},
		{"otherboot", (*world).otherBoot},
		{"chown USER FILE file…", func(_ *world, ts *testscript.TestScript, args []string) {
			user, err := strconv.Atoi(args[0])
			ts.Check(err)
			for _, file := range args[1:] {
				ts.Check(os.Lchown(ts.MkAbs(file), user, user))
			}
		}},
	} {
		words := strings.Fields(c.usage)
		least := 0
		for _, word := range words[1:] {
			if word == strings.ToUpper(word) {
				least++
			}
		}
		all[words[0]] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < least || len(args) > least && !strings.HasSuffix(c.usage, "…") {
				ts.Fatalf("usage: %s", c.usage)
			}
			c.run(of(ts), ts, args)
		}
	}
	return all
}

// lanhook is its command line with the script's policy and state directory.
func lanhook(args ...string) []string {
	return append([]string{program, "--policy", "policy.toml", "--state-dir", "state"}, args...)
}

// hook is the command line that calls a hook: STAGE NAME FLAG…. The shell that does it opens the state, and then does
// what how says.
func hook(how string, args []string) []string {
	return slices.Concat([]string{
		"sh", "-c", `exec <"$1"; shift; ` + how, "sh", args[1] + ".json",
		program, "hook", args[0], "--policy", "policy.toml", "--state-dir", "state",
	}, args[2:])
}

func (w *world) exits(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := w.run(ts, "host", args[1], args[2:]...); got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func (w *world) container(ts *testscript.TestScript, args []string) {
	s := w.net.Namespace(w.t, args[0])
	w.spaces[args[0]] = s
	ts.Setenv(args[0], strconv.Itoa(s.PID))
	writeState(ts, args[0], s.PID, args[1:])
}

func writeState(ts *testscript.TestScript, name string, pid int, words []string) {
	annotations := map[string]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			ts.Fatalf("%q is not KEY=VALUE", word)
		}
		annotations[key] = value
	}
	data, err := json.Marshal(struct {
		Version     string            `json:"ociVersion"`
		ID          string            `json:"id"`
		Status      string            `json:"status"`
		PID         int               `json:"pid"`
		Bundle      string            `json:"bundle"`
		Annotations map[string]string `json:"annotations"`
	}{"1.2.0", name, "creating", pid, ts.MkAbs(name), annotations})
	ts.Check(err)
	// Others must be able to read it, for scripts that run lanhook as another user.
	ts.Check(os.WriteFile(ts.MkAbs(name+".json"), data, 0o644))
}

func (w *world) space(ts *testscript.TestScript, name string) *nettest.Space {
	s := w.spaces[name]
	if s == nil {
		ts.Fatalf("there is no namespace %s", name)
	}
	return s
}

func (w *world) until(ts *testscript.TestScript, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if w.run(ts, "host", args[1], args[2:]...) == 0 && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s", patience)
		}
	}
}

// listen lets this process have a port of the host.
func (w *world) listen(ts *testscript.TestScript, args []string) {
	w.net.Host.Do(w.t, func() {
		l, err := net.Listen(args[0], args[1])
		ts.Check(err)
		w.listeners = append(w.listeners, l)
	})
}

// unlisten gives all of them up. A process that another script is just starting has this one's descriptors as well until it runs its
// program, which takes a while in a new network namespace: none is being started while the lock is held.
func (w *world) unlisten(ts *testscript.TestScript, _ []string) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, l := range w.listeners {
		ts.Check(l.Close())
	}
	w.listeners = nil
}

// mask replaces record ids and what is made from them, processes, namespaces and times.
func mask(ts *testscript.TestScript) {
	text := ts.ReadFile("stdout")
	for _, m := range []struct{ pattern, word string }{
		{`(add veth \S+ mac )\S+`, "${1}RANDOM"},
		{`(delete veth \S+ (?:if|with) mac )\S+`, "${1}RANDOM"},
		{`\blh[a-z2-7]{10}([a-p])\b`, "lhRECORD${1}"},
		{`\blanhook [a-z2-7]{10}\b`, "lanhook RECORD"},
		{`\btable [12]\d{9}\b`, "table TABLE"},
		{`("record": ")[a-z2-7]{10}"`, `${1}RECORD"`},
		{`(?m)^(record +)[a-z2-7]{10}$`, "${1}RECORD"},
		{`(?m)^(process +)\d+$`, "${1}PID"},
		{`("pid": )\d+`, "${1}PID"},
		{`\b(process )\d+( runs)`, "${1}PID${2}"},
		{`\b(network namespace )\d+ \(cookie \d+\)`, "${1}NETNS"},
		{`("netns": )\d+`, "${1}NETNS"},
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
	} {
		text = regexp.MustCompile(m.pattern).ReplaceAllString(text, m.word)
	}
	_, err := ts.Stdout().Write([]byte(text))
	ts.Check(err)
}

// nobody fails unless no container has a record, and with it a lease.
func (w *world) nobody(ts *testscript.TestScript, _ []string) {
	w.exits(ts, append([]string{"0"}, lanhook("ls", "--json")...))
	if list := ts.ReadFile("stdout"); list != "[]\n" {
		ts.Fatalf("there are records:\n%s", list)
	}
}

// fs mounts the state directory anew, empty, or what is there read-only.
func (w *world) fs(ts *testscript.TestScript, args []string) {
	if args[0] == "ro" {
		ts.Check(syscall.Mount("", w.state, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		return
	}
	ts.Check(syscall.Unmount(w.state, 0))
	ts.Check(mountNew(w.state, strings.Join(append(args, "mode=0700"), ",")))
}
