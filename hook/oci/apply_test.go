package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApply(t *testing.T) {
	const mount = `{"destination":"/etc/hosts","type":"bind","source":"/run/h","options":["bind","ro","nosuid","nodev","noexec"]}`
	hosts := []Mount{{"/etc/hosts", "/run/h"}}
	lan := map[string]string{"io.lanhook.network": "lan"}
	ns := func(kind NetNSKind, path string) *NetNS { return &NetNS{kind, path} }
	for _, tt := range []struct {
		name     string
		edits    Edits
		in, want string
	}{
		{"nothing", Edits{}, `{"x": 1e999 }`, `{"x": 1e999 }`},
		{"annotation, none there", Edits{Annotations: lan}, `{"x": 1e9 }`, `{"x": 1e9,"annotations":{"io.lanhook.network":"lan"} }`},
		{"annotation, null", Edits{Annotations: lan}, `{"annotations":null}`, `{"annotations":{"io.lanhook.network":"lan"}}`},
		{"annotation, empty", Edits{Annotations: lan}, `{"annotations":{ }}`, `{"annotations":{"io.lanhook.network":"lan" }}`},
		{"annotation, others", Edits{Annotations: lan}, `{"annotations":{"a" : "b" }}`, `{"annotations":{"a" : "b","io.lanhook.network":"lan" }}`},
		{"annotation that is there stays", Edits{Annotations: lan}, `{"annotations":{"io.lanhook.network":"x"}}`, `{"annotations":{"io.lanhook.network":"x"}}`},
		{"annotation that is there, escaped", Edits{Annotations: lan}, `{"annotations":{"io\u002elanhook.network":"x"}}`, `{"annotations":{"io\u002elanhook.network":"x"}}`},
		{"annotations in order", Edits{Annotations: map[string]string{"b": "2\n", "a": "<1>"}}, `{}`, `{"annotations":{"a":"<1>","b":"2\n"}}`},

		{"host name", Edits{Hostname: "web"}, `{"hostname" : "x","linux":{"namespaces":[{"type":"uts"}]}}`, `{"hostname" : "web","linux":{"namespaces":[{"type":"uts"}]}}`},
		{"host name, none there", Edits{Hostname: "web"}, `{"linux":{"namespaces":[{"type":"uts"}]}}`, `{"linux":{"namespaces":[{"type":"uts"}]},"hostname":"web"}`},
		{"host name, the same", Edits{Hostname: "web"}, `{"hostname":"\u0077eb","linux":{"namespaces":[{"type":"uts"}]}}`, `{"hostname":"\u0077eb","linux":{"namespaces":[{"type":"uts"}]}}`},

		{"own namespace, there", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"namespaces":[{"type":"network" }]}}`, `{"linux":{"namespaces":[{"type":"network" }]}}`},
		{"own namespace, empty path", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"namespaces":[{"type":"network","path":"" }]}}`, `{"linux":{"namespaces":[{"type":"network","path":"" }]}}`},
		{"own namespace for a path, behind", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"namespaces":[ {"type":"network", "path":"/x", "y":1 } ]}}`, `{"linux":{"namespaces":[ {"type":"network", "y":1 } ]}}`},
		{"own namespace for a path, before", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"namespaces":[{"path":"/x","type":"network"}]}}`, `{"linux":{"namespaces":[{"type":"network"}]}}`},
		{"own namespace for the host's", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"namespaces":[{"type":"pid"} ]}}`, `{"linux":{"namespaces":[{"type":"pid"},{"type":"network"} ]}}`},
		{"own namespace, no linux", Edits{NetNS: ns(NetNSNew, "")}, `{}`, `{"linux":{"namespaces":[{"type":"network"}]}}`},
		{"own namespace, all null", Edits{NetNS: ns(NetNSNew, "")}, `{"linux":{"a":1,"namespaces":null}}`, `{"linux":{"a":1,"namespaces":[{"type":"network"}]}}`},
		{"path for own", Edits{NetNS: ns(NetNSPath, "/n")}, `{"linux":{"namespaces":[{"type":"network"},{"type":"pid"}]}}`, `{"linux":{"namespaces":[{"type":"network","path":"/n"},{"type":"pid"}]}}`},
		{"path for another", Edits{NetNS: ns(NetNSPath, "/n")}, `{"linux":{"namespaces":[{"path" : "/x", "type":"network"}]}}`, `{"linux":{"namespaces":[{"path" : "/n", "type":"network"}]}}`},
		{"path for the host's", Edits{NetNS: ns(NetNSPath, "/n")}, `{"linux":{}}`, `{"linux":{"namespaces":[{"type":"network","path":"/n"}]}}`},
		{"path, the same", Edits{NetNS: ns(NetNSPath, "/n")}, `{"linux":{"namespaces":[{"type":"network","path":"\/n"}]}}`, `{"linux":{"namespaces":[{"type":"network","path":"\/n"}]}}`},
		{"host's for own", Edits{NetNS: ns(NetNSShared, "")}, `{"linux":{"namespaces":[{"type":"pid"}, {"type":"network"} ]}}`, `{"linux":{"namespaces":[{"type":"pid"} ]}}`},
		{"host's for a path, first", Edits{NetNS: ns(NetNSShared, "")}, `{"linux":{"namespaces":[{"type":"network","path":"/x"}, {"type":"pid"}]}}`, `{"linux":{"namespaces":[{"type":"pid"}]}}`},
		{"host's, the only one", Edits{NetNS: ns(NetNSShared, "")}, `{"linux":{"namespaces":[{"type":"network"}]}}`, `{"linux":{"namespaces":[]}}`},
		{"host's already", Edits{NetNS: ns(NetNSShared, "")}, `{"linux":null}`, `{"linux":null}`},

		{"mount", Edits{Mounts: hosts}, `{"mounts":[ {"destination":"/proc"} ]}`, `{"mounts":[ {"destination":"/proc"},` + mount + ` ]}`},
		{"mount, none there", Edits{Mounts: hosts}, `{}`, `{"mounts":[` + mount + `]}`},
		{"mount, null", Edits{Mounts: hosts}, `{"mounts":null}`, `{"mounts":[` + mount + `]}`},
		{"mount, engine's", Edits{Mounts: hosts}, `{"mounts":[{"destination":"/etc/./hosts/"}]}`, `{"mounts":[{"destination":"/etc/./hosts/"}]}`},
		{"mount, engine's relative", Edits{Mounts: hosts}, `{"mounts":[{"destination":"etc/hosts"}]}`, `{"mounts":[{"destination":"etc/hosts"}]}`},
		{
			"mounts of an earlier edit",
			Edits{Mounts: hosts, Folder: "/run"},
			`{"mounts":[{"destination":"/etc/hosts","source":"/run/old"}, {"destination":"/proc","source":"/runs"} ,{"destination":"/x","source":"/run/x"}]}`,
			`{"mounts":[{"destination":"/proc","source":"/runs"},` + mount + `]}`,
		},
		{
			"the only mount, of an earlier edit",
			Edits{Folder: "/run"},
			`{"mounts":[ {"destination":"/etc/hosts","source":"/run/h"} ]}`,
			`{"mounts":[  ]}`,
		},
		{"the same mount of an earlier edit", Edits{Mounts: hosts, Folder: "/run"}, `{"mounts":[` + mount + `]}`, `{"mounts":[` + mount + `]}`},
		{"no mounts of an earlier edit", Edits{Folder: "/run"}, `{"mounts":null}`, `{"mounts":null}`},
		{"mount twice", Edits{Mounts: append(hosts, hosts...)}, `{"mounts":[]}`, `{"mounts":[` + mount + `]}`},

		{
			"everything",
			Edits{Annotations: lan, NetNS: ns(NetNSPath, "/n"), Hostname: "web", Mounts: hosts},
			"{\n \"hostname\": \"x\",\n \"linux\": {\"namespaces\": [{\"type\": \"uts\"}, {\"type\": \"network\"}]},\n \"root\": 1\n}",
			"{\n \"hostname\": \"web\",\n \"linux\": {\"namespaces\": [{\"type\": \"uts\"}, {\"type\": \"network\",\"path\":\"/n\"}]},\n \"root\": 1," +
				`"annotations":{"io.lanhook.network":"lan"},"mounts":[` + mount + "]\n}",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.edits.Apply([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
			if again, err := tt.edits.Apply(got); err != nil || !bytes.Equal(again, got) {
				t.Errorf("a second edit: %s, %v", again, err)
			}
		})
	}
}

func TestHooksBy(t *testing.T) {
	for want, config := range map[string]string{
		"":        `{"hooks":{"poststop":[{"path":"/bin/other","args":["lanhook","hook","poststop","--by","me"]}]}}`,
		BySetup:   `{"hooks":{"prestart":[{"path":"/bin/true"}],"poststop":[{"path":"/bin/lanhook","args":["lanhook","hook","poststop"]}]}}`,
		ByRuntime: `{"hooks":{"poststop":[{"path":"/a/lanhook","args":["lanhook","hook","poststop","--by","lanhook-runtime"]}]}}`,
		"me":      `{"hooks":{"createRuntime":[{"path":"/a/lanhook","args":["x","hook","createRuntime","--by=me"]}]}}`,
	} {
		if got := HooksBy([]byte(config)); got != want {
			t.Errorf("%s\nsays %q, want %q", config, got, want)
		}
	}
	for _, config := range []string{``, `[]`, `{"hooks":7}`, `{"hooks":{"poststop":7}}`, `{"hooks":{"poststop":[7]}}`} {
		if got := HooksBy([]byte(config)); got != "" {
			t.Errorf("%s says %q, want nothing", config, got)
		}
	}
}

// TestApplyBy: the hook is told who put it there, and whose hooks are ours does not hang on that.
func TestApplyBy(t *testing.T) {
	mine := ours()
	mine.By, mine.Args = ByRuntime, []string{"--policy", "/p"}
	edited, err := Edits{Hooks: &mine}.Apply([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"args":["lanhook","hook","createRuntime","--by","lanhook-runtime","--policy","/p"]`; !bytes.Contains(edited, []byte(want)) {
		t.Errorf("got %s, want %s", edited, want)
	}
	for _, args := range []string{`"poststop"`, `"poststop","--by","nri"`, `"poststop","--policy","/p","--by=nri"`, `"poststop","--by"`} {
		config := `{"hooks":{"poststop":[{"path":"/opt/lanhook","args":["lanhook","hook",` + args + `]}]}}`
		if got, err := (Edits{Hooks: &mine}).Apply([]byte(config)); err != nil || bytes.Contains(got, []byte("/opt/lanhook")) {
			t.Errorf("%s: got %s, %v; want it replaced", args, got, err)
		}
	}
	others := `{"path":"/bin/x","args":["x","hook","--by","lanhook-runtime"]}`
	if got, err := (Edits{Hooks: &mine}).Apply([]byte(`{"hooks":{"poststop":[` + others + `]}}`)); err != nil || !bytes.Contains(got, []byte(others)) {
		t.Errorf("got %s, %v; want %s kept", got, err, others)
	}
}

func TestApplyRefuses(t *testing.T) {
	all := Edits{
		Annotations: map[string]string{"a": "b"}, NetNS: &NetNS{}, Hostname: "web", Mounts: []Mount{{"/etc/hosts", "/run/h"}},
	}
	const uts = `"linux":{"namespaces":[{"type":"uts"}]}`
	for _, tt := range []struct{ name, in, want string }{
		{"annotations are a list", `{"annotations":[]}`, "its annotations is no object"},
		{"an annotation twice", `{"annotations":{"x":"1","x":"2"}}`, `it has the annotation "x" twice`},
		{"annotations twice", `{"annotations":{},"annotations":{}}`, `it has "annotations" beside or instead of "annotations"`},
		{"annotations in upper case", `{"Annotations":{}}`, `it has "Annotations" beside or instead of "annotations"`},
		{"host name twice", `{"hostname":"x","hostName":"y",` + uts + `}`, `it has "hostName" beside or instead of "hostname"`},
		{"no UTS namespace", `{}`, "it has no UTS namespace, and thus no host name of its own"},
		{"linux is a text", `{"linux":"x"}`, "its linux is no object"},
		{"namespaces twice", `{"linux":{"namespaces":[],"namespaces":[]}}`, `in its linux it has "namespaces" beside or instead of "namespaces"`},
		{"namespaces are an object", `{"linux":{"namespaces":{}}}`, "its linux.namespaces is no list"},
		{"a namespace is a text", `{"linux":{"namespaces":["uts"]}}`, "its linux.namespaces[0] is no object"},
		{"a namespace's type is a number", `{"linux":{"namespaces":[{"type":1}]}}`, "in its linux.namespaces[0] its type is no text"},
		{"a namespace's type twice", `{"linux":{"namespaces":[{"type":"uts","type":"network"}]}}`, `in its linux.namespaces[0] it has "type" beside or instead of "type"`},
		{"two network namespaces", `{"linux":{"namespaces":[{"type":"network"},{"type":"network"}]}}`, "it has two network namespaces"},
		{"mounts are an object", `{` + uts + `,"mounts":{}}`, "its mounts is no list"},
		{"a mount is a text", `{` + uts + `,"mounts":[{},"/x"]}`, "its mounts[1] is no object"},
		{"a destination is a list", `{` + uts + `,"mounts":[{"destination":[]}]}`, "in its mounts[0] its destination is no text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := all.Apply([]byte(tt.in))
			var e *Error
			if want := "edit the container's config.json: " + tt.want; !errors.As(err, &e) || e.Error() != want {
				t.Errorf("got %s, %v\nwant %s", got, err, want)
			}
		})
	}
	for _, tt := range []struct {
		name  string
		edits Edits
		want  string
	}{
		{"path without kind", Edits{NetNS: &NetNS{NetNSNew, "/x"}}, `"/x" is no path of a network namespace`},
		{"kind without path", Edits{NetNS: &NetNS{Kind: NetNSPath}}, `"" is no path of a network namespace`},
		{"relative path", Edits{NetNS: &NetNS{NetNSPath, "x"}}, `"x" is no path of a network namespace`},
		{"no UTF-8", Edits{Annotations: map[string]string{"a": "\xff"}}, `the annotation "a" is not UTF-8`},
		{"host name", Edits{Hostname: "\xff"}, `the host name "\xff" is not UTF-8`},
		{"mount", Edits{Mounts: []Mount{{"/etc/../x", "/y"}}}, `"/y" cannot be mounted on "/etc/../x"`},
		{"mount from elsewhere", Edits{Mounts: []Mount{{"/x", "/run2/y"}}, Folder: "/run"}, `"/run2/y" is not below "/run"`},
		{"relative folder", Edits{Folder: "run"}, `"run" is no folder of mounts`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.edits.Apply([]byte(`{}`))
			if want := "make the edit of a config.json: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"hooks":{"createRuntime":[1e5 , "]"]} }`), "", uint8(0))
	f.Add([]byte(`{"linux":{"namespaces":[{"type":"uts"},{"path":"/p", "type":"network"}]}, "mounts":[ {"destination":"etc/hosts"}]}`), "/n", uint8(2))
	f.Add([]byte(`{"annotations" : {"a":"x" } ,"hostname":5,"linux":{"namespaces":[{"type":"network"} , {"type":"uts"}]}}`), "", uint8(1))
	f.Add([]byte("{\"mounts\":null\n,\"annotations\":null,\"linux\":{ \"namespaces\" : [ {\"type\":\"uts\",\"x\":[1,2]} ] } }"), "/n", uint8(0))
	f.Fuzz(func(t *testing.T, config []byte, path string, kind uint8) {
		h := ours()
		h.By = ByRuntime
		e := Edits{
			Hooks: &h, Annotations: map[string]string{"a": "b"}, NetNS: &NetNS{NetNSKind(kind % 3), path}, Hostname: "web",
			Mounts: []Mount{{"/etc/hosts", "/run/h"}}, Folder: "/run",
		}
		once, err := e.Apply(config)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is more than one line: %q", err)
			}
			return
		}
		twice, err := e.Apply(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("a second edit: %v\nfirst  %s\nsecond %s", err, once, twice)
		}
		got, err := ParseBundle("config.json", once)
		if err != nil {
			// What the edit does not look at may be something else than lanhook reads.
			return
		}
		if got.NetNS != *e.NetNS || got.Hostname != "web" || got.Annotations["a"] == "" && !bytes.Contains(config, []byte(`""`)) {
			t.Errorf("the edited bundle has %+v\n%s", got, once)
		}
		before, after := rest(t, config), rest(t, once)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("other members changed: -want +got\n%s", diff)
		}
	})
}

// rest is what no edit touches.
func rest(t *testing.T, config []byte) map[string]json.RawMessage {
	t.Helper()
	all, _ := foreign(t, config)
	for _, name := range []string{"annotations", "hostname", "linux", "mounts"} {
		delete(all, name)
	}
	return all
}

// TestApplyManyEarlierMounts: a container's owner names as many mounts as there is room for, and nobody bounds the time.
func TestApplyManyEarlierMounts(t *testing.T) {
	const n = 3000
	var all, others []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"destination":"/x%d","source":"/run/h"}`, i))
		if i%3 == 1 {
			all[i] = fmt.Sprintf(`{"destination":"/x%d","source":"/h"}`, i)
			others = append(others, all[i])
		}
	}
	config := []byte(`{"mounts":[` + strings.Join(all, ",") + `]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	edited, err := Edits{Folder: "/run"}.Apply(config)
	runtime.ReadMemStats(&after)
	if want := `{"mounts":[` + strings.Join(others, ",") + `]}`; err != nil || string(edited) != want {
		t.Errorf("%d bytes (%v), want %d", len(edited), err, len(want))
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 100*uint64(len(config)) {
		t.Errorf("it took %d bytes for a text of %d", took, len(config))
	}
}
