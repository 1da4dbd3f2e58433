//go:build linux

package netsetup_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// How tests look at the firewall: by nft(8), and by what check and repair say.

// nft runs nft(8) on the host.
func (w *world) nft(t *testing.T, args ...string) string {
	t.Helper()
	var out []byte
	w.Host.Do(t, func() {
		var err error
		if out, err = exec.Command("nft", args...).CombinedOutput(); err != nil {
			t.Fatalf("nft %s: %v: %s", args, err, out)
		}
	})
	return string(out)
}

// ruleset is all rules of the host, see [linesOf].
func (w *world) ruleset(t *testing.T) []string {
	t.Helper()
	return linesOf(w.nft(t, "--stateless", "list", "ruleset"))
}

// linesOf parts what nft(8) lists into its lines, with each element by itself, sorted.
func linesOf(list string) []string {
	text := strings.ReplaceAll(list, "elements = {", "\n")
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' })
	for i := range lines {
		lines[i] = strings.Trim(lines[i], "\t {}")
	}
	slices.Sort(lines)
	return slices.DeleteFunc(lines, func(l string) bool { return l == "" })
}

// flush removes lanhook's tables, as nft flush ruleset, firewalld and ufw do. The canary of the tests stays.
func (w *world) flush(t *testing.T) {
	t.Helper()
	w.nft(t, "add table inet lanhook; delete table inet lanhook; add table bridge lanhook; delete table bridge lanhook")
}

// reserved are the ports that the host keeps from its own connections.
func (w *world) reserved(t *testing.T) string {
	t.Helper()
	return readSetting(t, w.Host, "ipv4/ip_local_reserved_ports")
}

// checked is what check says of each container and, by "", of the host.
func (w *world) checked(t *testing.T) map[string]string {
	t.Helper()
	records := w.records(t)
	c, err := w.setup.Check(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{"": strings.Join(c.Host, "\n")}
	for i, rec := range records {
		for _, d := range c.Of[i] {
			said[rec.Container] += d.What + "\n"
		}
	}
	return said
}

// drift is all that check says, "" for nothing.
func (w *world) drift(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, said := range w.checked(t) {
		all.WriteString(said)
	}
	return all.String()
}

// clean fails the test unless the kernel has what all records say.
func (w *world) clean(t *testing.T) {
	t.Helper()
	if drift := w.drift(t); drift != "" {
		t.Errorf("check says:\n%s", drift)
	}
}

// well fails the test unless check finds nothing, and repair has nothing to do.
func (w *world) well(t *testing.T) {
	t.Helper()
	w.clean(t)
	if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
		t.Errorf("repair gave %+v (%v)", r, err)
	}
}
