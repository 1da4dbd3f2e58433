package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// commandTimeout bounds the commands that change something.
const commandTimeout = hookTimeout

func (f *asked) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.networks, "network", nil, "attach to `[IFNAME:]NETWORK[,FIELD=VALUE…]`, as the annotation does")
	flags.StringArrayVar(&f.annotations, "annotation", nil, "an annotation `KEY=VALUE` of the container")
	flags.StringVar(&f.name, "name", "", "the workload's stable `NAME`")
}

func (a *app) attachCmd() *command {
	var f asked
	return &command{
		use:   "attach ID|PID|NETNS --network [IFNAME:]NETWORK",
		short: "Attach a running container to a network",
		long: `Attach a container that runs already, by container id, process id, or the path of its network namespace. The
policy decides as it does for the hook. Without IFNAME the container gets the lowest ethN that is free, a container of
Docker's the lowest lanN.`,
		args: []string{"ID, PID or NETNS"},
		run: func(ctx context.Context, args []string) error {
			return a.attach(ctx, args[0], f)
		},
		flags: f.register,
	}
}

func (a *app) attach(ctx context.Context, word string, f asked) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, lateError(commandTimeout))
	defer cancel()
	c, err := a.running(ctx, word)
	if err != nil {
		return err
	}
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	if !f.allNamed() {
		free, nameErr := s.FreeName(c.NetNS, c.Runtime)
		if nameErr != nil {
			return nameErr
		}
		f = f.named(free)
	}
	if err = f.request(&c, nil); err == nil {
		err = unshimmed(c.Request, "")
	}
	if err != nil {
		return err
	}
	result, err := s.Attach(ctx, c)
	if err != nil {
		return err
	}
	warnings := linesOf(result.Warnings)
	if result.Unnamed != nil {
		warnings = append(warnings, "other containers do not know its name: "+oneLine(result.Unnamed))
	}
	if a.json {
		return a.printJSON(attachView{result.Ref.ID, result.Already, shown(result.Interfaces), warnings})
	}
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "warning: "+w)
	}
	if result.Already {
		fmt.Fprintf(a.stdout, "%s was attached already\n", c.ID)
	}
	a.printInterfaces(result.Interfaces)
	return nil
}

type attachView struct {
	Record     string           `json:"record"`
	Already    bool             `json:"already"`
	Interfaces []plan.Interface `json:"interfaces"`
	Warnings   []string         `json:"warnings"`
}

// allNamed says whether every network has an interface name.
func (f asked) allNamed() bool {
	return !slices.ContainsFunc(f.networks, func(word string) bool { return !hasIfName(word) })
}

// named gives the one network without an interface name the name that is free.
func (f asked) named(free string) asked {
	networks := make([]string, 0, len(f.networks))
	for _, word := range f.networks {
		if !hasIfName(word) {
			word = free + ":" + word
		}
		networks = append(networks, word)
	}
	f.networks = networks
	return f
}

func (a *app) detachCmd() *command {
	ifName := ""
	return &command{
		use:   "detach ID|PID|NETNS",
		short: "Take back what a container has, running or not",
		long: `Take back all interfaces that lanhook gave to a container, or one of them, with their addresses. A container
that has nothing is no error.`,
		args: []string{"ID, PID or NETNS"},
		run: func(ctx context.Context, args []string) error {
			return a.detach(ctx, args[0], ifName)
		},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&ifName, "interface", "", "only the attach that made interface `IFNAME`")
		},
	}
}

func (a *app) detach(ctx context.Context, word, ifName string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, lateError(commandTimeout))
	defer cancel()
	records, err := a.recordsOf(ctx, word)
	if err == nil && ifName != "" {
		records, err = with(records, ifName)
	}
	if err != nil {
		return err
	}
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	v := detachView{Container: word, Found: len(records) > 0}
	var errs []error
	for _, rec := range records {
		v.Container = rec.Container
		if err := s.Release(ctx, rec.Ref()); err != nil {
			errs = append(errs, err)
			continue
		}
		v.Interfaces = append(v.Interfaces, rec.Interfaces...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if a.json {
		v.Interfaces = shown(v.Interfaces)
		return a.printJSON(v)
	}
	if !v.Found {
		fmt.Fprintf(a.stdout, "no record of a container %q: nothing to take back\n", v.Container)
	}
	a.printInterfaces(v.Interfaces)
	return nil
}

// with is the record that made an interface. Interfaces that were attached together are detached together.
func with(records []store.Record, ifName string) ([]store.Record, error) {
	has := func(r store.Record) bool {
		return slices.ContainsFunc(r.Interfaces, func(i plan.Interface) bool { return i.Name == ifName })
	}
	found := where(records, has)
	if len(found) == 0 && len(records) > 0 {
		return nil, fmt.Errorf("%s has no interface %s of lanhook's", records[0].Container, ifName)
	}
	for _, rec := range found {
		if n := len(rec.Interfaces); n > 1 {
			return nil, fmt.Errorf("%s of %s was attached together with %d more; they are detached together", ifName,
				rec.Container, n-1)
		}
	}
	return found, nil
}

type detachView struct {
	Container  string           `json:"container"`
	Found      bool             `json:"found"`
	Interfaces []plan.Interface `json:"interfaces"`
}

func (a *app) planCmd() *command {
	var (
		f      asked
		bundle string
		at     string
	)
	return &command{
		use:   "plan --bundle DIR | --network [IFNAME:]NETWORK",
		short: "Show what an attach would do; changes nothing",
		long: `Show each step that an attach would take, from a bundle's config.json or from annotations, and what the
container would get. Nothing is changed and nothing is reserved: two plans may show the same address.`,
		run: func(ctx context.Context, _ []string) error {
			return a.plan(ctx, f, bundle, at)
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs)
			fs.StringVar(&bundle, "bundle", "", "take annotations from `DIR`/config.json")
			fs.StringVar(&at, "container", "", "plan for the running container `ID|PID|NETNS`")
		},
	}
}

func (a *app) plan(ctx context.Context, f asked, bundle, at string) error {
	c := netsetup.Container{ID: "plan"}
	annotations := map[string]string{}
	var err error
	if at != "" {
		if c, err = a.running(ctx, at); err != nil {
			return err
		}
	}
	if bundle != "" {
		var b oci.Bundle
		if b, err = oci.ReadBundle(bundle); err != nil {
			return err
		}
		annotations = b.Annotations
		c.Subject.Bundle = bundle
		c.Subject.CGroup = b.CGroupsPath
		c.Subject.Engine, c.Subject.Namespace = oci.Origin(bundle)
		if c.NetNS == "" {
			c.NetNS = b.NetNS.Path
		}
	}
	if err = f.request(&c, annotations); err != nil {
		return err
	}
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	p, err := s.Plan(ctx, c)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(planView{texts(p.Steps), texts(plan.Undo(p.Steps)), shown(p.Interfaces), linesOf(errors.Join(p.Warnings...))})
	}
	for _, w := range p.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+oneLine(w))
	}
	a.printInterfaces(p.Interfaces)
	if len(p.Steps) == 0 {
		fmt.Fprintln(a.stdout, "nothing would be done: the interfaces are there already")
	}
	for _, step := range p.Steps {
		fmt.Fprintln(a.stdout, strings.Join(plan.Lines(step), "\n"))
	}
	return nil
}

type planView struct {
	Steps      []string         `json:"steps"`
	Undo       []string         `json:"undo"`
	Interfaces []plan.Interface `json:"interfaces"`
	Warnings   []string         `json:"warnings"`
}
