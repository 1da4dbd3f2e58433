package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lanhook/lanhook/policy/request"
)

var update = flag.Bool("update", false, "rewrite the golden files and the tables of docs/policy.md")

// golden is one case of an archive: the files of a folder CASE/, or, in testdata/decide, a question of a whole archive.
type golden struct {
	name string
	// in are the files that a person wrote, by their name in the folder; out are those that the test compares.
	in  []txtar.File
	out []txtar.File
}

// compute makes the results of a case, with the files that lie in no folder.
type compute func(t *testing.T, common []txtar.File, g golden) []txtar.File

// eachGolden compares the results of every case of every archive of testdata/dir with what compute makes. The files that
// are named in results are those that compute returns, and it is an error when one is missing or left over.
func eachGolden(t *testing.T, dir string, results []string, compute compute) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before := txtar.Format(a)
			common, all := cases(a, results)
			a.Files = common
			for _, g := range all {
				t.Run(g.name, func(t *testing.T) {
					got := compute(t, common, g)
					if diff := cmp.Diff(byName(g.out), byName(got)); diff != "" && !*update {
						t.Errorf("(-want +got):\n%s", diff)
					}
					g.out = got
				})
				for _, f := range append(g.in, g.out...) {
					a.Files = append(a.Files, txtar.File{Name: g.name + "/" + f.Name, Data: f.Data})
				}
			}
			if after := txtar.Format(a); *update && !bytes.Equal(before, after) {
				if err := os.WriteFile(file, after, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// split puts the files of each folder together, and keeps those apart that lie in none.
func cases(a *txtar.Archive, results []string) (common []txtar.File, all []golden) {
	index := map[string]int{}
	for _, f := range a.Files {
		i := strings.LastIndex(f.Name, "/")
		if i < 0 {
			common = append(common, f)
			continue
		}
		folder, name := f.Name[:i], f.Name[i+1:]
		at, ok := index[folder]
		if !ok {
			at = len(all)
			index[folder] = at
			all = append(all, golden{name: folder})
		}
		one := txtar.File{Name: name, Data: f.Data}
		if strings.Contains("\n"+strings.Join(results, "\n")+"\n", "\n"+name+"\n") {
			all[at].out = append(all[at].out, one)
		} else {
			all[at].in = append(all[at].in, one)
		}
	}
	return common, all
}

func byName(files []txtar.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		out[f.Name] = string(f.Data)
	}
	return out
}

// sources are the policy files of a case, in the order in which they stand.
func sources(t *testing.T, files []txtar.File) []File {
	t.Helper()
	var out []File
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".toml") {
			out = append(out, File{Name: f.Name, Data: f.Data})
		}
	}
	if len(out) == 0 {
		t.Fatal("the case has no policy")
	}
	return out
}

// TestGoldenErrors reads policies that must be refused: all errors of all files, with their hints.
func TestGoldenErrors(t *testing.T) {
	eachGolden(t, "errors", []string{"errors.txt"}, func(t *testing.T, _ []txtar.File, g golden) []txtar.File {
		p, err := Decode(sources(t, g.in))
		if err == nil {
			t.Fatalf("the policy was taken: %+v", p.View())
		}
		if p != nil {
			t.Error("there is a policy beside the error")
		}
		all, ok := errors.AsType[Errors](err)
		if !ok {
			t.Fatalf("the error is no Errors: %v", err)
		}
		var b strings.Builder
		for _, e := range all {
			fmt.Fprintln(&b, e)
			if e.Hint != "" {
				fmt.Fprintf(&b, "    %s\n", e.Hint)
			}
		}
		return []txtar.File{{Name: "errors.txt", Data: []byte(b.String())}}
	})
}

// TestGoldenGood reads policies that must be taken: what is understood of them, and the warnings.
func TestGoldenGood(t *testing.T) {
	eachGolden(t, "good", []string{"view.json", "warnings.txt"}, func(t *testing.T, _ []txtar.File, g golden) []txtar.File {
		p, err := Decode(sources(t, g.in))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.MarshalIndent(p.View(), "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		out := []txtar.File{{Name: "view.json", Data: append(data, '\n')}}
		if all := p.Warnings(); len(all) > 0 {
			var b strings.Builder
			for _, w := range all {
				fmt.Fprintln(&b, w)
			}
			out = append(out, txtar.File{Name: "warnings.txt", Data: []byte(b.String())})
		}
		return out
	})
}

// question is what a container asks for, and what is known of it.
type question struct {
	ID, Engine, Namespace, Bundle, CGroup, Name string
	Named                                       bool
	Annotations                                 map[string]string
}

// answer is what both decisions say, the second of what the first allowed.
func answer(t *testing.T, p *Policy, q question) ([]Attachment, Guest, error) {
	t.Helper()
	req, err := request.Parse(q.Annotations)
	if err != nil {
		return nil, Guest{}, err
	}
	s := Subject{
		ID: q.ID, Annotations: q.Annotations, Engine: q.Engine, Namespace: q.Namespace, Bundle: q.Bundle, CGroup: q.CGroup,
		Name: q.Name, Named: q.Named,
	}
	attachments, err := p.Decide(req, s)
	if err != nil {
		return nil, Guest{}, err
	}
	guest, guestErr := p.DecideGuest(req, s, attachments)
	if guestErr != nil && !cmp.Equal(guest, Guest{}, cmp.AllowUnexported(netip.Addr{})) {
		t.Errorf("there is a guest beside the refusal: %+v", guest)
	}
	return attachments, guest, guestErr
}

// TestGoldenDecide asks the policy of an archive one question for each case: the answer is in decision.txt, or the
// refusal in denied.txt.
func TestGoldenDecide(t *testing.T) {
	results := []string{"decision.txt", "denied.txt"}
	eachGolden(t, "decide", results, func(t *testing.T, all []txtar.File, g golden) []txtar.File {
		p, err := Decode(sources(t, all))
		if err != nil {
			t.Fatal(err)
		}
		var q question
		d := json.NewDecoder(bytes.NewReader(g.in[0].Data))
		d.DisallowUnknownFields()
		if err = d.Decode(&q); err != nil {
			t.Fatal(err)
		}
		got, guest, err := answer(t, p, q)
		var denied *DeniedError
		switch {
		case errors.As(err, &denied):
			out := denied.Error() + "\n"
			if denied.Hint() != "" {
				out += "    " + denied.Hint() + "\n"
			}
			return []txtar.File{{Name: "denied.txt", Data: []byte(out + "rule: " + denied.Rule + "\n")}}
		case err != nil:
			t.Fatalf("the request itself is wrong, which is tested elsewhere: %v", err)
		}
		return []txtar.File{{Name: "decision.txt", Data: []byte(describe(got, guest))}}
	})
}

// describe is a decision as text, one line for each thing.
func describe(all []Attachment, g Guest) string {
	var b strings.Builder
	if len(all) == 0 && g.Rule == "" {
		b.WriteString("nothing\n")
	}
	for _, a := range all {
		name := a.Network.Name
		if name == "" {
			v, err := json.Marshal(a.Network.View())
			if err != nil {
				return err.Error()
			}
			name = string(v)
		}
		fmt.Fprintf(&b, "%s: %s by rule %s\n", a.IfName, name, a.Rule)
		for _, ip := range a.IPs {
			fmt.Fprintf(&b, "  ip %s\n", ip)
		}
		for _, ip := range a.Reserved {
			fmt.Fprintf(&b, "  reserved %s\n", ip)
		}
		if a.Withheld {
			b.WriteString("  what is reserved is withheld\n")
		}
		if a.MAC != nil {
			fmt.Fprintf(&b, "  mac %s\n", a.MAC)
		}
		if a.MTU != 0 {
			fmt.Fprintf(&b, "  mtu %d\n", a.MTU)
		}
		for _, g := range a.Gateways {
			fmt.Fprintf(&b, "  gateway %s\n", g)
		}
		if a.DefaultRoute.Set {
			fmt.Fprintf(&b, "  default-route %s\n", a.DefaultRoute)
		}
		for _, r := range a.Routes {
			fmt.Fprintf(&b, "  route %s\n", r)
		}
		for _, s := range a.Sysctls {
			fmt.Fprintf(&b, "  sysctl %s\n", s)
		}
		if a.IPv6 != IPv6Static {
			fmt.Fprintf(&b, "  ipv6 %s\n", a.IPv6)
		}
		for _, addr := range a.DNAT {
			fmt.Fprintf(&b, "  dnat %s\n", addr)
		}
		for _, p := range a.Publish {
			fmt.Fprintf(&b, "  publish %s\n", describePublish(p))
		}
		if a.Rates != (Rates{}) {
			fmt.Fprintf(&b, "  rate in %s out %s\n", describeRate(a.Rates.In), describeRate(a.Rates.Out))
		}
		if a.Network.Names {
			b.WriteString("  names\n")
		}
	}
	describeGuest(&b, g, len(all) == 0)
	return b.String()
}

func describePublish(p Publish) string {
	host := fmt.Sprint(p.Host)
	if p.Host == 0 {
		host = fmt.Sprint("one of ", p.Free)
	}
	return fmt.Sprintf("#%d %s %s %s -> %d count %d", p.Asked, p.Protocol, p.Addr, host, p.Container, p.Count)
}

func describeRate(r Rate) string {
	if r == (Rate{}) {
		return "any"
	}
	return rateText(r.Bits) + " burst " + burstText(r.Burst)
}

// describeGuest writes what else there is; the rule only where no attachment has named it.
func describeGuest(b *strings.Builder, g Guest, alone bool) {
	if alone && g.Rule != "" {
		fmt.Fprintf(b, "allowed by rule %s\n", g.Rule)
	}
	switch g.NetNS {
	case NetNSDefault:
	case NetNSHost:
		b.WriteString("netns host\n")
	case NetNSNone:
		b.WriteString("netns none\n")
	case NetNSContainer:
		fmt.Fprintf(b, "netns container %s\n", g.Container)
	}
	if g.Hostname != "" {
		fmt.Fprintf(b, "hostname %s\n", g.Hostname)
	}
	for _, a := range g.DNS {
		fmt.Fprintf(b, "dns %s\n", a)
	}
	for _, s := range g.DNSSearch {
		fmt.Fprintf(b, "dns-search %s\n", s)
	}
	for _, s := range g.DNSOption {
		fmt.Fprintf(b, "dns-option %s\n", s)
	}
	for _, h := range g.Hosts {
		fmt.Fprintf(b, "host %s %s\n", h.Name, h.Addr)
	}
}
