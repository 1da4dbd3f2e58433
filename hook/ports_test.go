package main

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy/request"
)

// withRecords makes a state directory with these records.
func withRecords(t *testing.T, records ...store.Record) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		for _, rec := range records {
			rec.State, rec.BootID, rec.Created = store.Attached, "boot", time.Unix(1, 0).UTC()
			if err := tx.Put(rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPorts: ports of all containers, of one, and of one that shares what another has.
func TestPorts(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	apps := func(name string, publish ...plan.Publish) []plan.Interface {
		return []plan.Interface{{
			Name: name, Network: "apps", Driver: "bridge", Uplink: "lh-apps", MAC: plan.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500,
			Publish: publish,
		}}
	}
	db := store.Record{
		ID: "aaaaaaaaaa", Container: "db", Workload: "database",
		Interfaces: apps("eth0", plan.Publish{
			Protocol: request.UDP, Addr: netip.MustParseAddr("fd00::1"), Host: 5000, Count: 3,
			To: netip.MustParseAddrPort("[fd30::2]:6000"),
		}),
	}
	web := store.Record{
		ID: "bbbbbbbbbb", Container: id, Workload: id,
		Interfaces: apps("eth0", plan.Publish{
			Protocol: request.TCP, Addr: netip.IPv4Unspecified(), Host: 8080, Count: 1,
			To: netip.MustParseAddrPort("172.30.0.3:80"),
		}),
	}
	web.Interfaces[0].DNAT = []plan.Translation{{From: netip.MustParseAddr("192.0.2.9"), To: netip.MustParseAddr("172.30.0.3")}}
	web.Interfaces[0].Network = ""
	side := store.Record{ID: "cccccccccc", Container: "side", Workload: "side", Joined: []store.Ref{db.Ref()}}
	state := withRecords(t, db, web, side)

	const header = "PROTOCOL  HOST                 CONTAINER  NAME      INTERFACE  NETWORK  TARGET\n"
	const ofDB = "udp       [fd00::1]:5000-5002  db         database  eth0       apps     [fd30::2]:6000-6002\n"
	for _, c := range []struct {
		name, want, wantErr string
		args                []string
	}{
		{
			name: "all",
			want: "" +
				"PROTOCOL  HOST                 CONTAINER     NAME          INTERFACE  NETWORK  TARGET\n" +
				"udp       [fd00::1]:5000-5002  db            database      eth0       apps     [fd30::2]:6000-6002\n" +
				"tcp       0.0.0.0:8080         0123456789ab  0123456789ab  eth0       -        172.30.0.3:80\n" +
				"all       192.0.2.9            0123456789ab  0123456789ab  eth0       -        172.30.0.3\n",
		},
		{name: "one by its name", args: []string{"database"}, want: header + ofDB},
		{name: "one that shares", args: []string{"side"}, want: header + ofDB},
		{
			name: "one that is not there", args: []string{"nosuch"},
			wantErr: "lanhook: ports: no record of a container \"nosuch\"\nhint: see which are attached with: lanhook ls; it knows ids and io.lanhook.name, not the --name of Docker and podman\n",
		},
		{
			name: "for programs", args: []string{"--json", "0123456789ab"},
			want: `[
  {
    "container": "` + id + `",
    "workload": "` + id + `",
    "record": "bbbbbbbbbb",
    "interface": "eth0",
    "protocol": "tcp",
    "address": "0.0.0.0",
    "port": 8080,
    "count": 1,
    "to_address": "172.30.0.3",
    "to_port": 80
  },
  {
    "container": "` + id + `",
    "workload": "` + id + `",
    "record": "bbbbbbbbbb",
    "interface": "eth0",
    "protocol": "all",
    "address": "192.0.2.9",
    "to_address": "172.30.0.3"
  }
]
`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"--state-dir", state, "ports"}, c.args...), strings.NewReader(""), &stdout, &stderr)
			if want := map[bool]int{true: exitDone, false: exitFailed}[c.wantErr == ""]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if diff := cmp.Diff(c.want, stdout.String()); diff != "" {
				t.Errorf("stdout differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.wantErr, stderr.String()); diff != "" {
				t.Errorf("stderr differs (-want +got):\n%s", diff)
			}
		})
	}
}
