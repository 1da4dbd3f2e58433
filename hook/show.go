package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

func (a *app) lsCmd() *command {
	return &command{
		use:   "ls",
		short: "List attached containers",
		long: `List the interfaces of all containers that have a record: one line an interface. An interface that containers of one
network namespace share has a line for each of them.`,
		run: func(ctx context.Context, _ []string) error {
			records, err := a.records(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(views(records))
			}
			return a.printTable([]string{"CONTAINER", "NAME", "INTERFACE", "NETWORK", "ADDRESSES", "MAC", "STATE", "PORTS"}, rows(records))
		},
	}
}

// rows are the lines of lanhook ls.
func rows(records []store.Record) [][]string {
	byRef := map[store.Ref]store.Record{}
	for _, rec := range records {
		byRef[rec.Ref()] = rec
	}
	var table [][]string
	add := func(rec store.Record, interfaces []plan.Interface, state string) {
		for _, i := range interfaces {
			table = append(table, []string{
				short(rec.Container), workload(rec), i.Name, cmp.Or(i.Network, "-"), addresses(i), i.MAC.String(), state,
				published(i),
			})
		}
	}
	for _, rec := range records {
		for _, ref := range rec.Joined {
			add(rec, byRef[ref].Interfaces, "joined "+short(ref.Container))
		}
		add(rec, rec.Interfaces, stateOf(rec))
		if len(rec.Joined)+len(rec.Interfaces) == 0 {
			table = append(table, []string{short(rec.Container), workload(rec), "-", "-", "-", "-", stateOf(rec), "-"})
		}
	}
	return table
}

// workload is a record's name, cut as an id is where it is the id.
func workload(rec store.Record) string {
	if rec.Workload == rec.Container {
		return short(rec.Container)
	}
	return rec.Workload
}

// stateOf is a record's state in one word.
func stateOf(rec store.Record) string {
	if rec.Left && rec.State == store.Attached {
		return "left"
	}
	return rec.State.String()
}

func (a *app) inspectCmd() *command {
	return &command{
		use:   "inspect ID",
		short: "Show what a container has, and the journal by which it is taken back",
		long: `Show the records of one container: what it has, what its attach warned of, the steps that were taken and those that
take them back. ID is an id, the beginning of one, a process, the path of a network namespace, or a name.`,
		args: []string{"ID"},
		run: func(ctx context.Context, args []string) error {
			records, err := a.recordsOf(ctx, args[0])
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return unknownContainer(args[0])
			}
			if a.json {
				return a.printJSON(inspectViews(records))
			}
			for i, rec := range records {
				if i > 0 {
					fmt.Fprintln(a.stdout)
				}
				a.printRecord(rec)
			}
			return nil
		},
	}
}

type unknownError struct{ id string }

func unknownContainer(id string) error { return &unknownError{id} }

func (e *unknownError) Error() string { return fmt.Sprintf("no record of a container %q", e.id) }

// Hint says where ids are. Docker and podman keep the names that their --name gives to themselves.
func (e *unknownError) Hint() string {
	return "see which are attached with: lanhook ls; it knows ids and io.lanhook.name, not the --name of Docker and podman"
}

type inspectView struct {
	recordView
	Steps []string `json:"steps"`
	Undo  []string `json:"undo"`
}

func inspectViews(records []store.Record) []inspectView {
	list := make([]inspectView, 0, len(records))
	for _, rec := range records {
		list = append(list, inspectView{viewOf(rec), texts(rec.Steps), texts(plan.Undo(rec.Steps))})
	}
	return list
}

func texts(steps plan.Steps) []string {
	list := make([]string, 0, len(steps))
	for _, s := range steps {
		list = append(list, s.String())
	}
	return list
}

// labelWidth is that of the words before what inspect says.
const labelWidth = 12

func (a *app) printRecord(rec store.Record) {
	p := func(label, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-*s%s\n", labelWidth, label, fmt.Sprintf(format, args...))
	}
	p("container", "%s", rec.Container)
	if rec.Workload != rec.Container {
		p("name", "%s", rec.Workload)
	}
	p("state", "%s since %s", rec.State, rec.Created.Format(time.RFC3339))
	if rec.Sandbox {
		p("sandbox", "its end is the end of all containers of its namespace")
	}
	if rec.Left {
		p("left", "its interfaces are kept for the containers that joined it")
	}
	for _, ref := range rec.Joined {
		p("joined", "%s, whose interfaces it shares", ref.Container)
	}
	p("process", "%d", rec.Process.PID)
	p("record", "%s", rec.ID)
	if rec.Guest != "" {
		p("files", "%s", rec.Guest)
	}
	a.printInterfaces(rec.Interfaces)
	for _, w := range rec.Warnings {
		p("warning", "%s", w)
	}
	steps := func(label string, all plan.Steps) {
		for _, s := range all {
			p(label, "%s", strings.Join(plan.Lines(s), "\n"+strings.Repeat(" ", labelWidth)))
		}
	}
	steps("step", rec.Steps)
	steps("undo", plan.Undo(rec.Steps))
}

// printInterfaces shows what a container gets.
func (a *app) printInterfaces(interfaces []plan.Interface) {
	for _, i := range interfaces {
		fmt.Fprintf(a.stdout, "%-12s%s %s on %s, MAC %s, MTU %d", i.Name, i.Driver, cmp.Or(i.Network, "(spelled out)"),
			i.Uplink, i.MAC, i.MTU)
		if len(i.Addresses)+len(i.Learned) > 0 {
			fmt.Fprintf(a.stdout, ", %s", strings.ReplaceAll(addresses(i), ",", " "))
		}
		if len(i.Gateways) > 0 {
			fmt.Fprintf(a.stdout, ", default via %s", join(i.Gateways))
		}
		if len(i.Host) > 0 {
			fmt.Fprintf(a.stdout, ", the host at %s", join(i.Host))
		}
		fmt.Fprintln(a.stdout)
		for _, p := range i.Publish {
			fmt.Fprintf(a.stdout, "%-12spublishes %s\n", "", p)
		}
		for _, t := range i.DNAT {
			fmt.Fprintf(a.stdout, "%-12sall of %s\n", "", t)
		}
	}
}
