package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// menu are networks that are right by themselves, and want one of few links. %s is the network's name.
func menu() []string {
	all := []string{
		"driver = \"host-device\"\ndevice = \"eth0\"\n", "driver = \"host-device\"\ndevice = \"eth0.5\"\n",
		"driver = \"vlan\"\nparent = \"eth0\"\nvlan = 5\n", "driver = \"vlan\"\nparent = \"eth0\"\nvlan = [5, 6]\n",
		"driver = \"vlan\"\nparent = \"eth0.5\"\nvlan = 6\n", "driver = \"vlan\"\nparent = \"eth0\"\nvlan = 5\nvlan-protocol = \"802.1ad\"\n",
	}
	for _, parent := range []string{
		"parent = \"eth0\"\n", "parent = \"eth0.5\"\n", "parent = \"eth0\"\nvlan = 5\n", "parent = \"eth0\"\nvlan = [5, 6]\n",
		"parent = \"eth0.5\"\nvlan = 6\n", "parent = \"eth0\"\nvlan = [5, 6]\nvlan-protocol = \"802.1q\"\n", "parent = { altname = \"eth0\" }\n",
	} {
		for _, driver := range []string{
			"driver = \"macvlan\"\n", "driver = \"ipvlan\"\nipam = \"none\"\n", "driver = \"ipvlan\"\nmode = \"l3\"\nipam = \"none\"\n",
		} {
			all = append(all, driver+parent)
		}
	}
	for _, uplink := range []string{"eth0", "eth0.5"} {
		for _, vlans := range []string{"", "vlan = 5\n", "trunk = [\"4-6\"]\n", "trunk = [7]\n"} {
			all = append(all, "driver = \"bridge\"\nuplink = \""+uplink+"\"\n"+vlans)
		}
	}
	return all
}

// TestClashes: a policy is refused exactly when two of its networks clash, in whatever order they stand.
func TestClashes(t *testing.T) {
	all := menu()
	alone := make([]*Network, len(all))
	text := func(i, name int) string { return fmt.Sprintf("[network.n%d]\n%s", name, all[i]) }
	for i := range all {
		p, err := Decode([]File{{"p", []byte("version = 1\n" + text(i, i))}})
		if err != nil {
			t.Fatalf("%s: %v", all[i], err)
		}
		alone[i] = p.Networks[fmt.Sprintf("n%d", i)]
	}
	clashes := func(i, j int) bool {
		a, b := alone[i], alone[j]
		if i == j {
			// Two networks of one kind are not one: each has a bridge of its own.
			other := *b
			other.Bridge += "x"
			b = &other
		}
		one, two := a.clash(b), b.clash(a)
		if (one == "") != (two == "") {
			t.Errorf("%s\nand\n%s\nclash in one order only: %q, %q", all[i], all[j], one, two)
		}
		return one != ""
	}
	r, seen := rand.New(rand.NewPCG(5, 6)), map[bool]int{}
	for range 3000 {
		var b strings.Builder
		b.WriteString("version = 1\n")
		var picked []int
		want := false
		for k := range 2 + r.IntN(3) {
			i := r.IntN(len(all))
			for _, j := range picked {
				want = clashes(i, j) || want
			}
			picked = append(picked, i)
			b.WriteString(text(i, k))
		}
		_, err := Decode([]File{{"p", []byte(b.String())}})
		seen[want]++
		if (err != nil) != want {
			t.Fatalf("Decode = %v, want an error: %t\n%s", err, want, b.String())
		}
	}
	if seen[true] < 300 || seen[false] < 300 {
		t.Errorf("%v: the test tests little", seen)
	}
}
