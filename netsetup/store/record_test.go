package store

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func TestNewID(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-7]{10}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if !form.MatchString(id) || !validID(id) {
			t.Fatalf("id %q has another form", id)
		}
		if seen[id] {
			t.Fatalf("id %q came twice", id)
		}
		seen[id] = true
	}
}

// TestRecordForm holds the bytes of one record in testdata/record.txt. Where they change, a lanhook that knows the old
// form must not read the new one: the version is to change with them. -update rewrites the file.
func TestRecordForm(t *testing.T) {
	record := testRecord(1)
	data, err := record.encode()
	if err != nil {
		t.Fatal(err)
	}
	lease, err := plan.Encode(record.Leases[0].value)
	if err != nil {
		t.Fatal(err)
	}
	got := "record\n" + hex.Dump(data) + "lease\n" + hex.Dump(lease)
	const golden = "testdata/record.txt"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(readFile(t, golden)), got); d != "" {
		t.Errorf("(-want +got; -update rewrites, and Version is to change)\n%s", d)
	}
}

// TestRecordIsWhole looks that no field of the record that the other tests write and read back is zero, for then they
// would not see it missing.
func TestRecordIsWhole(t *testing.T) {
	record := testRecord(1)
	var look func(path string, v reflect.Value)
	look = func(path string, v reflect.Value) {
		if v.IsZero() {
			t.Errorf("%s is zero", path)
		}
		if v.Kind() != reflect.Struct || v.Type().PkgPath() != reflect.TypeFor[Record]().PkgPath() {
			return
		}
		for field, value := range v.Fields() {
			look(path+"."+field.Name, value)
		}
	}
	look("record", reflect.ValueOf(record))
	both := record.Leases[0]
	both.MAC = record.Leases[1].MAC
	look("lease", reflect.ValueOf(both))
}

func TestDecodeRecord(t *testing.T) {
	record := testRecord(1)
	whole, err := record.encode()
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, replacement string) string {
		text := string(whole)
		if !strings.Contains(text, old) {
			t.Fatalf("the record has no %q", old)
		}
		return strings.Replace(text, old, replacement, 1)
	}
	rest := string(whole[1:])
	tests := []struct {
		name, data, want, hint string
	}{
		{name: "as written", data: string(whole)},
		{
			name: "IP-28 older version", data: "\x01" + rest, hint: "an older lanhook wrote it",
			want: "record version 1 cannot be read, this lanhook knows version 4",
		},
		{
			name: "newer version", data: "\x05" + rest, hint: "a newer lanhook wrote it",
			want: "record version 5 cannot be read, this lanhook knows version 4",
		},
		{
			name: "newer version of another form", data: "\x07{}", hint: "a newer lanhook wrote it",
			want: "record version 7 cannot be read",
		},
		{
			name: "version of two bytes", data: "\xac\x02" + rest, hint: "a newer lanhook wrote it",
			want: "record version 300 cannot be read",
		},
		{name: "IP-28 stray white space", data: string(whole) + "\n", want: "decode record: near byte"},
		{name: "no state", data: with("\x03web\x01", "\x03web\x00"), want: "decode record: it has no state"},
		{name: "unknown state", data: with("\x03web\x01", "\x03web\x04"), want: "number 4 is above 3"},
		{name: "unknown step", data: with("\x02\x0clv"+record.ID, "\x7f\x0clv"+record.ID), want: "a step is of the unknown kind 127"},
		{name: "bad address", data: with("\x04\x0a\x00\x00\x01\x08", "\x05\x0a\x00\x00\x01\x00\x08"), want: "decode record: "},
		{name: "bad prefix", data: with("\x04\x0a\x00\x00\x01\x08", "\x04\x0a\x00\x00\x01\x21"), want: "10.0.0.1 and 33 bits are no prefix"},
		{name: "bad id", data: with("\x0a"+record.ID, "\x01a"), want: `id "a" is not 10 characters`},
		{name: "two values", data: string(whole) + string(whole), want: "bytes stand behind the end"},
		{name: "empty", want: "decode record: near byte 0: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := DecodeRecord([]byte(test.data))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(record, got); d != "" {
					t.Errorf("record (-want +got):\n%s", d)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if test.hint != "" && !strings.Contains(asError[*VersionError](t, err).Hint(), test.hint) {
				t.Errorf("hint %q, want %q", asError[*VersionError](t, err).Hint(), test.hint)
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		for n := range whole {
			if _, err := DecodeRecord(whole[:n]); err == nil || !strings.HasPrefix(err.Error(), "decode record: near byte ") {
				t.Errorf("error of the first %d bytes is %v", n, err)
			}
		}
	})
}

func TestEncodeRecord(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Record)
		want   string
	}{
		"too large":       {func(r *Record) { r.Workload = strings.Repeat("w", maxValue) }, "more than 1048576"},
		"another version": {func(r *Record) { r.Version++ }, "record version 5"},
		"no state":        {func(r *Record) { r.State = 0 }, "it has no state"},
		"other's lease":   {func(r *Record) { r.Leases[0].Record = testID(7) }, "belongs to another record"},
		"no step":         {func(r *Record) { r.Steps[0] = nil }, "unknown kind 0"},
	} {
		t.Run(name, func(t *testing.T) {
			record := testRecord(1)
			test.change(&record)
			if _, err := record.encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// FuzzDecodeRecord reads what nobody wrote: an error, or a record that is written as the same bytes.
func FuzzDecodeRecord(f *testing.F) {
	for n := range 2 {
		record := testRecord(n)
		data, err := record.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{Version})
	f.Fuzz(func(t *testing.T, data []byte) {
		record, err := DecodeRecord(data)
		if err != nil {
			return
		}
		again, err := record.encode()
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		if !bytes.Equal(data, again) {
			t.Errorf("decoded from\n%sencoded as\n%s", hex.Dump(data), hex.Dump(again))
		}
	})
}
