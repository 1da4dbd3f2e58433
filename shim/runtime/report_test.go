package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLog: an error is also where the engine looks for it.
func TestLog(t *testing.T) {
	const said = "lanhook-runtime: create: annotation io.lanhook.network: "
	for _, tt := range []struct {
		name string
		args func(log string) []string
		want string
	}{
		{"json", func(log string) []string { return []string{"--log", log, "--log-format", "json"} }, "json"},
		{"json of crun", func(log string) []string { return []string{"--log=file:" + log, "--log-format=json"} }, "json"},
		{"text", func(log string) []string { return []string{"--log", log} }, "text"},
		{"journal", func(string) []string { return []string{"--log=journald:x"} }, ""},
		{"none", func(string) []string { return nil }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, `{"annotations":{"io.lanhook.network":"lan,mtu=1"}}`)
			log := filepath.Join(w.dir, "log")
			w.write(t, log, "before\n", 0o600)
			w.refused(t, w.call(t, append(tt.args(log), "create", "web")...), said)
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			line, ok := strings.CutPrefix(string(data), "before\n")
			var entry struct{ Level, Msg, Time string }
			switch {
			case !ok, tt.want == "" && line != "":
				t.Errorf("the log has %q", data)
			case tt.want == "json":
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level != "error" ||
					!strings.HasPrefix(entry.Msg, said) || entry.Time == "" {
					t.Errorf("the log has %q: %v", line, err)
				}
			case tt.want == "text":
				if !strings.Contains(line, ` level=error msg="`+said) || !strings.HasPrefix(line, `time="`) {
					t.Errorf("the log has %q", line)
				}
			}
		})
	}
	t.Run("cannot be written", func(t *testing.T) {
		w := newWorld(t, `{"annotations":{"io.lanhook.network":"lan,mtu=1"}}`)
		o := w.call(t, "--log", "/no/such/log", "create", "web")
		if !strings.Contains(o.Stderr, said) || !strings.Contains(o.Stderr, "write /no/such/log: ") || o.State.ExitCode() != 1 {
			t.Errorf("got %+v", o)
		}
	})
}
