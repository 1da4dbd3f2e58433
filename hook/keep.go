package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
)

func (a *app) checkCmd() *command {
	return &command{
		use:   "check [ID]",
		short: "Compare what the kernel has with what the records say",
		long: `Compare each interface of one container, or of all, with its record: link, name, MAC, MTU, addresses, routes, the
host's side and its rules. Differences are printed one a line, and the exit code is then 1.`,
		args: []string{"ID"}, optional: true,
		run: func(ctx context.Context, args []string) error {
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			return a.check(ctx, id)
		},
	}
}

// driftView is one difference as programs get it.
type driftView struct {
	// Container is "" for what is no single container's.
	Container string `json:"container,omitempty"`
	Interface string `json:"interface,omitempty"`
	What      string `json:"what"`
}

// String is the difference as people get it.
func (d driftView) String() string {
	if d.Container == "" {
		return "host: " + d.What
	}
	return fmt.Sprintf("%s %s: %s", short(d.Container), cmp.Or(d.Interface, "-"), d.What)
}

// driftViews are the differences of records, and then those of what they share. repairable says whether repair puts any of
// them right.
func driftViews(records []store.Record, checked netsetup.Checked) (list []driftView, repairable bool) {
	list = []driftView{}
	for i, rec := range records {
		for _, d := range checked.Of[i] {
			repairable = repairable || d.Repair
			list = append(list, driftView{rec.Container, d.IfName, byContainer(d.What, records)})
		}
	}
	for _, what := range checked.Host {
		repairable = true
		list = append(list, driftView{What: byContainer(what, records)})
	}
	return list, repairable
}

func (a *app) check(ctx context.Context, id string) error {
	records, err := a.records(ctx)
	if id != "" {
		records, err = a.recordsOf(ctx, id)
	}
	if err != nil {
		return err
	}
	if id != "" && len(records) == 0 {
		return unknownContainer(id)
	}
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	checked, err := s.Check(ctx, records)
	if err != nil {
		return err
	}
	drift, repairable := driftViews(records, checked)
	if a.json {
		if err := a.printJSON(drift); err != nil {
			return err
		}
	} else {
		for _, d := range drift {
			fmt.Fprintln(a.stdout, d)
		}
		if len(drift) == 0 {
			fmt.Fprintf(a.stdout, "%d attached, all as recorded\n", len(records))
		}
	}
	switch {
	case repairable:
		fmt.Fprintln(a.stderr, "hint: what is the host's can be put right with: lanhook repair")
	case has(checked, func(d netsetup.Drift) bool { return d.Waits }):
		fmt.Fprintln(a.stderr, "hint: bring the host's links back that have gone or are down; lanhook repair makes anew then what was on them")
	case has(checked, byHand):
		fmt.Fprintln(a.stderr, "hint: lanhook repair does not touch these: bring the host's links back by hand, and start containers anew "+
			"whose interfaces were changed or are gone")
	}
	if len(drift) > 0 {
		return &quietError{exitFailed}
	}
	return nil
}

// byHand says whether a difference is one that neither repair nor gc puts right.
func byHand(d netsetup.Drift) bool { return !d.Repair && !d.Collect && !d.Waits }

// has says whether some difference of a record is as is says.
func has(c netsetup.Checked, is func(netsetup.Drift) bool) bool {
	return slices.ContainsFunc(c.Of, func(of []netsetup.Drift) bool { return slices.ContainsFunc(of, is) })
}

func (a *app) gcCmd() *command {
	var o netsetup.CollectOptions
	return &command{
		use:   "gc",
		short: "Take back what dead containers left",
		long: `Take back what is proved dead, and only that: records of another boot, of a network namespace that is gone, of
an attach or detach that was cut off, of what containers shared that have all stopped, bridges, VLAN sub-interfaces and the
host's links beside containers with lanhook's mark that no record names, and files made for containers that are gone.`,
		run: func(ctx context.Context, _ []string) error {
			return a.gc(ctx, o)
		},
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&o.DryRun, "dry-run", false, "only show what would be taken back")
		},
	}
}

type gcView struct {
	Records []recordView `json:"records"`
	Bridges []string     `json:"bridges"`
	VLANs   []string     `json:"vlans"`
	// Links are the host's own beside containers.
	Links []string `json:"links"`
	// Guests are the keys of files that containers read.
	Guests []string `json:"guests"`
}

func (a *app) gc(ctx context.Context, o netsetup.CollectOptions) error {
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	collected, err := s.Collect(ctx, o)
	if a.json {
		some := func(list []string) []string { return append([]string{}, list...) }
		view := gcView{views(collected.Records), some(collected.Bridges), some(collected.VLANs), some(collected.HostLinks), some(collected.Guests)}
		if jsonErr := a.printJSON(view); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	if err != nil && len(collected.Records)+len(collected.Bridges)+len(collected.VLANs)+len(collected.HostLinks)+len(collected.Guests) == 0 {
		return err
	}
	for _, rec := range collected.Records {
		for _, i := range rec.Interfaces {
			fmt.Fprintf(a.stdout, "%s %s %s %s\n", short(rec.Container), i.Name, cmp.Or(i.Network, "-"), addresses(i))
		}
	}
	for _, name := range collected.Bridges {
		fmt.Fprintf(a.stdout, "bridge %s\n", name)
	}
	for _, name := range collected.VLANs {
		fmt.Fprintf(a.stdout, "vlan %s\n", name)
	}
	for _, name := range collected.HostLinks {
		fmt.Fprintf(a.stdout, "link %s\n", name)
	}
	for _, key := range collected.Guests {
		fmt.Fprintf(a.stdout, "files %s\n", key)
	}
	text, done := total(collected), "taken back"
	if o.DryRun {
		done = "would be taken back"
	}
	if text == "" {
		text, done = "nothing", "to take back"
	}
	fmt.Fprintln(a.stdout, text, done)
	return err
}

// total counts what was collected, "" for nothing. Bridges and VLANs are those without a record; what records name goes with them.
func total(c netsetup.Collected) string {
	var words []string
	for _, of := range []struct {
		n    int
		what string
	}{{len(c.Records), "record"}, {len(c.Bridges), "bridge"}, {len(c.VLANs), "VLAN"}, {len(c.HostLinks), "link of the host"}} {
		if of.n > 0 {
			words = append(words, count(of.n, of.what))
		}
	}
	if n := len(c.Guests); n > 0 {
		words = append(words, "the files of "+count(n, "container"))
	}
	return strings.Join(words, " and ")
}
