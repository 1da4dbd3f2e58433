//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// summary is what a run found out.
type summary struct {
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
	Rounds int    `json:"rounds"`
	// Many is how many containers are attached in the scene "many".
	Many    int      `json:"many"`
	Rows    []row    `json:"rows"`
	Targets []target `json:"targets"`
}

// row is one contender in one scene. Times are in milliseconds.
type row struct {
	Driver    driver `json:"driver,omitempty"`
	Operation string `json:"operation"`
	Scene     string `json:"scene"`
	Contender string `json:"contender"`
	Samples   int    `json:"samples"`
	// Median, Low and High are wall-clock time: the middle, the 10th and the 90th percentile.
	Median float64 `json:"median_ms"`
	Low    float64 `json:"low_ms"`
	High   float64 `json:"high_ms"`
	// CPU is the median of user and system time of the program and its children.
	CPU float64 `json:"cpu_ms"`
	// Memory is the biggest resident set of any sample, in MiB.
	Memory float64 `json:"memory_mib"`
}

// target is what a value ought to be at most.
type target struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Most  float64 `json:"most"`
	Unit  string  `json:"unit"`
	Met   bool    `json:"met"`
}

// Units of targets.
const (
	times  = "times"
	second = "s"
	mega   = "MB"
	mebi   = "MiB"
	milli  = "ms"
)

// percentile is the value below which p of the sorted values lie, p from 0 to 1: the nearest one, none between two.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(p*float64(len(sorted)-1)+0.5)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// row sums samples up.
func (m measurements) row(w what) row {
	samples := m[w]
	wall := make([]time.Duration, 0, len(samples))
	cpu := make([]time.Duration, 0, len(samples))
	var memory int64
	for _, s := range samples {
		wall, cpu, memory = append(wall, s.wall), append(cpu, s.cpu), max(memory, s.memory)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return row{
		Driver: w.Driver, Operation: w.Operation, Scene: w.Scene, Contender: w.Contender, Samples: len(samples),
		Median: milliseconds(percentile(wall, 0.5)), Low: milliseconds(percentile(wall, 0.1)),
		High: milliseconds(percentile(wall, 0.9)), CPU: milliseconds(percentile(cpu, 0.5)), Memory: float64(memory) / 1024,
	}
}

// summary sums a run up. size is that of lanhook in bytes.
func (m measurements) summary(c config, size int64) summary {
	s := summary{Kernel: kernel(), CPUs: runtime.NumCPU(), Rounds: c.rounds, Many: c.crowd}
	order := slices.SortedFunc(maps.Keys(m), func(a, b what) int {
		return cmp.Or(cmp.Compare(a.Scene, b.Scene), cmp.Compare(a.Driver, b.Driver),
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Contender, b.Contender))
	})
	for _, w := range order {
		s.Rows = append(s.Rows, m.row(w))
	}
	s.Targets = m.targets(c, size)
	if c.guest {
		s.Targets = m.guestTargets()
	}
	return s
}

// targets compares with what lanhook is meant to reach.
func (m measurements) targets(c config, size int64) []target {
	var list []target
	add := func(name string, value, most float64, unit string) {
		list = append(list, target{name, value, most, unit, value <= most})
	}
	median := func(d driver, operation, scene, contender string) float64 {
		return m.row(what{d, operation, scene, contender}).Median
	}
	ratio := func(d driver, operation, other string, most float64) {
		add(fmt.Sprintf("%s %s, lanhook / %s", d, operation, other),
			median(d, operation, none, "lanhook")/median(d, operation, none, other), most, times)
	}
	ratio(macvlan, attachOp, "floor", 2.5)
	ratio(macvlan, attachOp, "netavark", 0.6)
	ratio(macvlan, attachOp, "CNI", 0.35)
	ratio(bridge, attachOp, "CNI", 0.5)
	for _, d := range []driver{macvlan, bridge} {
		ratio(d, detachOp, "netavark", 0.2)
		ratio(d, detachOp, "CNI", 0.2)
	}
	for _, d := range []driver{macvlan, bridge} {
		for _, operation := range []string{attachOp, detachOp} {
			add(fmt.Sprintf("%s %s, lanhook with %d attached / with none", d, operation, c.crowd),
				median(d, operation, many, "lanhook")/median(d, operation, none, "lanhook"), 1.15, times)
		}
		beyond := func(scene string) float64 {
			return median(d, attachOp, scene, "lanhook") - median(d, attachOp, scene, "floor")
		}
		add(fmt.Sprintf("%s attach, lanhook beyond floor with %d attached / with none", d, c.crowd), beyond(many)/beyond(none),
			1.15, times)
	}
	add(fmt.Sprintf("%s attach, lanhook with conflict = \"next\", beyond \"off\"", macvlan),
		median(asked, attachOp, none, "lanhook")-median(macvlan, attachOp, besideAsked, "lanhook"), 60, milli)
	for _, scene := range []struct{ key, words string }{{none, "beside others"}, {first, "for the first"}} {
		add(fmt.Sprintf("%s attach, lanhook with host-access %s / without", macvlan, scene.words),
			median(reached, attachOp, scene.key, "lanhook")/median(macvlan, attachOp, besideReached, "lanhook"), 1.5, times)
	}
	ratio(published, attachOp, "netavark", 0.25)
	ratio(published, attachOp, "CNI", 0.1)
	ratio(published, detachOp, "netavark", 0.1)
	ratio(published, detachOp, "CNI", 0.1)
	add(fmt.Sprintf("%s attach, lanhook with %d ports published / with one", published, manyPorts),
		median(published, attachOp, many, "lanhook")/median(published, attachOp, none, "lanhook"), 1.2, times)
	add(fmt.Sprintf("connection to a published port, with %d ports published / with two", manyPorts),
		median(published, flowOp, many, "lanhook")/median(published, flowOp, none, "lanhook"), 1.1, times)
	for _, d := range []driver{macvlan, bridge} {
		add(fmt.Sprintf("gc of %d dead %s containers", c.crowd, d), median(d, "gc", many, "lanhook")/1000, 1, second)
	}
	add(fmt.Sprintf("%d macvlan attaches at once / %d empty Go programs at once", atOnce, atOnce),
		median(macvlan, attachOp, burst, "lanhook")/median("", runOp, burst, "empty"), 4, times)
	for _, name := range []string{nothing, network} {
		add("create by "+name+", beyond the runtime's own",
			median("", createOp, none, name)-median("", createOp, none, bareRuntime), 2, milli)
	}
	add("size of lanhook", float64(size)/1e6, 5, mega)
	add("memory of an attach", m.row(what{macvlan, attachOp, none, "lanhook"}).Memory, 16, mebi)
	return list
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(release))
}

// find is the row of a contender; false when it was not measured.
func (s summary) find(w what) (row, bool) {
	i := slices.IndexFunc(s.Rows, func(r row) bool { return what{r.Driver, r.Operation, r.Scene, r.Contender} == w })
	if i < 0 {
		return row{}, false
	}
	return s.Rows[i], true
}

// print writes tables for people.
func (s summary) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("Linux %s, %d CPUs, %d rounds. Milliseconds of a whole process: median (10th to 90th percentile).\n",
		s.Kernel, s.CPUs, s.Rounds)
	names := []string{"floor", "lanhook", "netavark", "CNI"}
	if _, ok := s.find(what{macvlan, attachOp, none, "ip"}); ok {
		names = []string{"lanhook", "ip"}
	}
	line("\t%s", strings.Join(names, "\t"))
	for _, scene := range []struct{ key, text string }{
		{none, "none attached"},
		{many, fmt.Sprintf("%d attached", s.Many)},
		{first, "first of its network"},
		{besideAsked, "taking turns with asked"},
		{besideReached, "taking turns with reached"},
		{burst, fmt.Sprintf("%d at once, all of them", atOnce)},
	} {
		for _, d := range []driver{macvlan, asked, reached, bridge, ipvlan, macvlanOnVLAN, vlan} {
			for _, operation := range []string{attachOp, detachOp} {
				s.line(line, what{d, operation, scene.key, ""}, scene.text, names)
			}
		}
	}
	for _, d := range []driver{macvlan, bridge} {
		for _, operation := range []string{attachOp, detachOp} {
			if _, measured := s.find(what{d, operation, many, "lanhook"}); !measured {
				continue
			}
			line("%s %s, with %d attached / with none\t%s\t%s", d, operation, s.Many, s.growth(d, operation, names[0]),
				s.growth(d, operation, names[1]))
		}
	}
	for _, operation := range []string{attachOp, detachOp} {
		s.line(line, what{published, operation, none, ""}, "one port there", names)
		s.line(line, what{published, operation, many, ""}, fmt.Sprintf("%d ports there", manyPorts), names)
	}
	for _, scene := range []string{none, many} {
		s.line(line, what{published, flowOp, scene, ""}, fmt.Sprintf("%d connections, ports: %s", flows, scene), names)
	}
	line("")
	for _, r := range s.Rows {
		switch {
		case r.Operation == runOp && r.Scene == burst:
			line("%d empty Go programs at once\t%s", atOnce, r.cell())
		case r.Operation == runOp:
			line("start of %s\t%s", r.Contender, r.cell())
		case r.Operation == createOp:
			line("create by %s\t%s", r.Contender, r.cell())
		case r.Operation == "gc":
			line("gc of %d %s containers\t%s", s.Many, r.Driver, r.cell())
		}
	}
	line("\n\tvalue\tat most\t")
	for _, t := range s.Targets {
		verdict := "MISS"
		if t.Met {
			verdict = "PASS"
		}
		line("%s\t%.2f\t%.2f %s\t%s", t.Name, t.Value, t.Most, t.Unit, verdict)
	}
	return w.Flush()
}

// line is one operation with a column for each contender, when anyone was measured.
func (s summary) line(print func(string, ...any), w what, scene string, names []string) {
	measured := false
	cells := make([]string, 0, len(names))
	for _, name := range names {
		w.Contender = name
		cell := "-"
		if r, ok := s.find(w); ok {
			cell, measured = r.cell(), true
		}
		cells = append(cells, cell)
	}
	if measured {
		print("%s %s, %s\t%s", w.Driver, w.Operation, scene, strings.Join(cells, "\t"))
	}
}

// growth is how many times longer it takes among many containers. Floor's is the kernel's share of it.
func (s summary) growth(d driver, operation, name string) string {
	alone, ok := s.find(what{d, operation, none, name})
	crowded, measured := s.find(what{d, operation, many, name})
	if !ok || !measured || alone.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("x %.2f", crowded.Median/alone.Median)
}

func (r row) cell() string {
	if r.Samples < 5 {
		return fmt.Sprintf("%.2f", r.Median)
	}
	return fmt.Sprintf("%.2f (%.1f-%.1f)", r.Median, r.Low, r.High)
}
