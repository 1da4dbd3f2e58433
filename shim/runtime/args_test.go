package main

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		// The rest is what is expected; args only where it is not all that was given.
		command, profile, log, format, args string
	}{
		{name: "runc create", in: "create web", command: "create"},
		{name: "go-runc", in: "--root /run/runc/default --log /b/log.json --log-format json --systemd-cgroup create --bundle /b web", command: "create", log: "/b/log.json", format: "json"},
		{name: "values behind =", in: "--root=/r --log=/l --log-format=text delete --force web", command: "delete", log: "/l", format: "text"},
		{name: "one dash", in: "-root /r -log=/l state web", command: "state", log: "/l"},
		{name: "a value like a command", in: "--root create --criu run start web", command: "start"},
		{name: "a flag does not take the command", in: "--debug create web", command: "create"},
		{name: "conmon", in: "--cgroup-manager cgroupfs --log=file:/l --log-format=json create --bundle /b --pid-file /p web", command: "create", log: "file:/l", format: "json"},
		{name: "crun's abbreviations", in: "--cg cgroupfs --roo /r create web", command: "create"},
		{name: "an unknown option with a value", in: "--future thing create web", command: "create"},
		{name: "an unknown option without one", in: "--future create web", command: "create"},
		{name: "an unknown option, its value behind =", in: "--future=thing other web", command: "other"},
		{name: "two dashes alone", in: "--debug -- create web", command: "create"},
		{name: "two dashes at the end", in: "--debug --", command: ""},
		{name: "nothing", in: ""},
		{name: "version", in: "--version"},
		{name: "features", in: "features", command: "features"},
		{name: "an option without its value", in: "--root"},
		{name: "profile", in: "--lanhook-profile=lan --root /r create web", command: "create", profile: "lan", args: "--root /r create web"},
		{name: "profile, its value apart", in: "--root /r --lanhook-profile lan create web", command: "create", profile: "lan", args: "--root /r create web"},
		{name: "profile, one dash", in: "-lanhook-profile=lan delete web", command: "delete", profile: "lan", args: "delete web"},
		{name: "profile behind the command is not ours", in: "exec web sh --lanhook-profile=lan", command: "exec"},
		{name: "profile as a value is not ours", in: "--root --lanhook-profile=lan create web", command: "create"},
		{name: "no abbreviation of ours", in: "--lanhook=lan create web", command: "create"},
	} {
		t.Run("RT-02 "+tt.name, func(t *testing.T) {
			in := strings.Fields(tt.in)
			got, err := parse(in)
			if err != nil {
				t.Fatal(err)
			}
			args := in
			if tt.args != "" {
				args = strings.Fields(tt.args)
			}
			if !slices.Equal(got.args, args) {
				t.Errorf("args %q, want %q", got.args, args)
			}
			if got.command != tt.command || got.profile != tt.profile || got.log.Path != tt.log || got.log.Format != tt.format {
				t.Errorf("got %+v", got)
			}
		})
	}
	for _, in := range []string{"--lanhook-profile= create web", "--lanhook-profile"} {
		if _, err := parse(strings.Fields(in)); err == nil || err.Error() != "--lanhook-profile names no profile" {
			t.Errorf("%s: got %v", in, err)
		}
	}
}

func TestTarget(t *testing.T) {
	both := []manner{golang, argp}
	for _, tt := range []struct {
		name, in string
		manners  []manner
		want     target
	}{
		{"none", "web", both, target{id: "web"}},
		{"--bundle X", "--bundle /b web", both, target{bundle: "/b", id: "web"}},
		{"--bundle=X", "--bundle=/b web", both, target{bundle: "/b", id: "web"}},
		{"-b X", "-b /b web", both, target{bundle: "/b", id: "web"}},
		{"-bundle X", "-bundle /b web", []manner{golang}, target{bundle: "/b", id: "web"}},
		{"-bundle X of crun", "-bundle web", []manner{argp}, target{bundle: "undle", id: "web"}},
		{"-b=X", "-b=/b web", []manner{golang}, target{bundle: "/b", id: "web"}},
		{"-b=X of crun", "-b=/b web", []manner{argp}, target{bundle: "=/b", id: "web"}},
		{"-bX", "-b/b web", []manner{argp}, target{bundle: "/b", id: "web"}},
		{"a cluster", "-db /b web", []manner{argp}, target{bundle: "/b", id: "web"}},
		{"a cluster with its value", "-db/b web", []manner{argp}, target{bundle: "/b", id: "web"}},
		{"abbreviated", "--bun=/b web", both, target{bundle: "/b", id: "web"}},
		{"abbreviated, apart", "--pid-f /p --bu /b web", []manner{argp}, target{bundle: "/b", id: "web"}},
		{"behind the id", "web --bundle /b", both, target{bundle: "/b", id: "web"}},
		{"twice", "-b /a -b /b web", both, target{bundle: "/b", id: "web"}},
		{"empty", "--bundle= web", both, target{id: "web"}},
		{"a value named create", "--bundle create --pid-file run web", both, target{bundle: "create", id: "web"}},
		{"a value like the option", "--pid-file --bundle web", both, target{id: "web"}},
		{"containerd", "--bundle /b --pid-file /b/init.pid --console-socket /c web", both, target{bundle: "/b", id: "web"}},
		{"restore", "--image-path /i --work-path /w --bundle /b --detach --no-subreaper --empty-ns network web", both, target{bundle: "/b", id: "web"}},
		{"two dashes alone", "-b /b -- --bundle", both, target{bundle: "/b", id: "--bundle"}},
		{"behind two dashes", "web -- --bundle /b", both, target{id: "web"}},
		{"crun's configuration", "-f /c --bundle /b web", []manner{argp}, target{bundle: "/b", config: "/c", id: "web"}},
		{"crun's configuration, long", "--config=c web", []manner{argp}, target{config: "c", id: "web"}},
		{"nothing", "", both, target{}},
	} {
		for _, m := range tt.manners {
			t.Run("RT-02 "+tt.name, func(t *testing.T) {
				got, err := call{rest: strings.Fields(tt.in)}.target(m)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(target{})); diff != "" {
					t.Errorf("manner %d: -want +got\n%s", m, diff)
				}
			})
		}
	}
	for _, in := range []string{"web --bundle", "-b", "--pid-file"} {
		if _, err := (call{rest: strings.Fields(in)}).target(argp); err == nil || !strings.HasSuffix(err.Error(), " has no value") {
			t.Errorf("RT-02 missing value: %s: got %v", in, err)
		}
	}
	for runtime, want := range map[string]manner{
		"/usr/bin/crun": argp, "/opt/crun-1.20": argp, "/usr/sbin/runc": golang, "/opt/crun/runc": golang, "youki": golang,
	} {
		if got := mannerOf(runtime); got != want {
			t.Errorf("%s: got %d", runtime, got)
		}
	}
}

// FuzzArguments compares with the flag package, on which runc's arguments are built: where it takes the arguments as
// they are, the bundle, the log and the command are those that it finds.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		"--log\n/l\ncreate\n-b\n/b\nweb", "-root=/r\n--\nrun\n--bundle=/b\n--no-pivot\nweb", "create\n--pid-file\n-b\n-bundle\nx\nweb",
		"--lanhook-profile=x\ndelete\nweb", "--debug\n--log-format\njson\nrestore\n--empty-ns\nnetwork\n-d\n-b=/b\nx\n-b\ny",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		args := strings.Split(in, "\n")
		c, err := parse(args)
		if err != nil {
			return
		}
		if c.profile == "" && !slices.Equal(c.args, args) {
			t.Errorf("args %q, want %q", c.args, args)
		}
		for _, m := range []manner{golang, argp} {
			if _, err := c.target(m); err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("more than one line: %q", err)
			}
		}
		global := flag.NewFlagSet("runc", flag.ContinueOnError)
		global.SetOutput(io.Discard)
		log := global.String("log", "", "")
		for _, name := range []string{"log-format", "root", "criu", "rootless", "lanhook-profile"} {
			global.String(name, "", "")
		}
		for _, name := range []string{"debug", "systemd-cgroup"} {
			global.Bool(name, false, "")
		}
		if global.Parse(args) != nil {
			return
		}
		if c.command != global.Arg(0) || c.log.Path != *log {
			t.Fatalf("%q: got command %q, log %q; want %q, %q", args, c.command, c.log.Path, global.Arg(0), *log)
		}
		if !c.creates() {
			return
		}
		local := flag.NewFlagSet("create", flag.ContinueOnError)
		local.SetOutput(io.Discard)
		var bundle string
		local.StringVar(&bundle, "bundle", "", "")
		local.StringVar(&bundle, "b", "", "")
		for _, name := range valued()[2:13] {
			local.String(name, "", "")
		}
		for _, name := range append(flags(), "d") {
			local.Bool(name, false, "")
		}
		if local.Parse(global.Args()[1:]) != nil || local.NArg() != 1 {
			return
		}
		got, err := c.target(golang)
		if err != nil || got.bundle != bundle || got.id != local.Arg(0) {
			t.Fatalf("%q: got %+v, %v; want %q, %q", args, got, err, bundle, local.Arg(0))
		}
	})
}
