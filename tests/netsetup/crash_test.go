//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
)

var errFault = errors.New("injected")

// wishes are what the containers of the matrices ask for.
func wishes() map[string][]string {
	return map[string][]string{
		"macvlan": {"network=lan"},
		"bridge":  {"network=apps,route=10.62.0.0/16 via 10.89.0.1"},
		"ports":   {"network=web", "publish=8080:80,40000:81/udp,82"},
		"both":    {"network=lan", "network.eth1=web", "publish=8080:80,40000:81/udp,82"},
	}
}

// matrix are the networks of the matrices, which have all that the firewall and queues can do.
func matrix() string {
	return strings.Replace(lan, "driver", "spoof-check = true\nrate = \"1gbit\"\ndriver", 1) + apps + web
}

// fault is the kernel, in which one step fails before it takes place.
type fault struct {
	apply.Kernel
	at, n int
}

func (f *fault) Apply(ctx context.Context, s plan.Step) error {
	f.n++
	if f.n > f.at {
		return errFault
	}
	return f.Kernel.Apply(ctx, s)
}

// journal is what a process that comes after reads of the steps: not our memory, but the record's bytes.
func journal(t *testing.T, steps plan.Steps) plan.Steps {
	t.Helper()
	data, err := steps.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var read plan.Steps
	if err := read.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return read
}

// strangers are what somebody else puts where a plan, made already, is to put its own.
func strangers() map[string]func(t *testing.T, w *world, c *box, p plan.Plan) {
	return map[string]func(t *testing.T, w *world, c *box, p plan.Plan){
		"nobody": func(*testing.T, *world, *box, plan.Plan) {},
		"the administrator's bridge has the name of ours": func(t *testing.T, w *world, _ *box, _ plan.Plan) {
			w.adminBridge(t, "lh-apps", "192.0.2.1/24")
		},
		"the container has the interface": func(t *testing.T, _ *world, c *box, _ plan.Plan) {
			addBridge(t, c.Space, "eth0", "192.0.2.5/24")
		},
		"the container has a link with our own name": func(t *testing.T, _ *world, c *box, p plan.Plan) {
			addBridge(t, c.Space, "lh"+p.Record+"a", "192.0.2.5/24")
		},
		"the host has a link with our own name": func(t *testing.T, w *world, _ *box, p plan.Plan) {
			addBridge(t, w.Host, "lh"+p.Record+"b", "192.0.2.5/24")
		},
	}
}

// TestCrashMatrix (BR-13 among others) lets an attach fail between any two steps, and undoes the journal: with the same sockets, as
// an attach that failed does, and with nothing but the number of the namespace, as gc does after a process has died. A step
// that failed when it had taken place leaves what the failure of the next one leaves: nobody does anything in between. Within a
// step programs are killed, see [TestHookKilled].
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	for wishName, wish := range wishes() {
		for strangerName, stranger := range strangers() {
			if strangerName != "nobody" && wishName != "both" {
				continue
			}
			t.Run(wishName+"/"+strangerName, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, matrix())
				c := w.plainBox(t, "c")
				addBridge(t, c.Space, "other0", "10.89.0.5/24")
				p, err := w.setup.Plan(t.Context(), c.container(t, wish...))
				if err != nil {
					t.Fatal(err)
				}
				stranger(t, w, c, p)
				w.crash(t, c, p, strangerName == "nobody")
			})
		}
	}
}

// crash stops a plan before each of its steps and behind the last, and undoes what is in its journal; alone says that a whole run
// succeeds.
func (w *world) crash(t *testing.T, c *box, p plan.Plan, alone bool) {
	t.Helper()
	w.Host.Remember(t)
	c.Remember(t)
	ns, closeNS := c.open(t)
	defer closeNS()
	// One more than there are steps is a whole attach.
	for at := range len(p.Steps) + 1 {
		for _, died := range []bool{false, true} {
			t.Run(fmt.Sprintf("%02d died=%t", at, died), func(t *testing.T) {
				k := w.setup.Host.Kernel(ns)
				k.Renew = func(context.Context) error { return w.setup.Host.RenewRules(rulesOf(p.Steps)) }
				err := apply.Run(t.Context(), &fault{Kernel: k, at: at}, p.Steps)
				k.Close() // ends with the attach, or with the process
				if whole := at == len(p.Steps); !whole && err == nil || whole && alone && err != nil {
					t.Errorf("the run ended with %v", err)
				}
				if died {
					k = w.later(t, c, ns)
				}
				if err := apply.Undo(t.Context(), k, append(plan.Undo(journal(t, p.Steps)), plan.ReleaseRules{})); err != nil {
					t.Error(err)
				}
				c.Same(t)
				w.Host.Same(t)
			})
		}
	}
}

// rulesOf are the rules among steps.
func rulesOf(steps plan.Steps) []plan.AddRules {
	var all []plan.AddRules
	for _, s := range steps {
		if rules, ok := s.(plan.AddRules); ok {
			all = append(all, rules)
		}
	}
	return all
}

// later is how a process that comes after sees the container.
func (w *world) later(t *testing.T, c *box, ns *kernel.Namespace) *kernel.Kernel {
	t.Helper()
	id, err := ns.NSID()
	if err != nil {
		t.Fatal(err)
	}
	return w.setup.Host.KernelByID(id, func() (*kernel.Namespace, error) { return w.setup.Host.Namespace(c.Path()) })
}

// TestStrangerComes lets somebody take the interface's name while the attach waits for its parent: the message names it,
// and nothing of ours is left.
func TestStrangerComes(t *testing.T) {
	w := newWorld(t, strings.Replace(lan, `"p0"`, "\"late0\"\nparent-wait = \"5s\"", 1))
	c := w.plainBox(t, "c")
	want := c.container(t, "network=lan")
	ended := make(chan error, 1)
	go func() {
		_, err := w.setup.Attach(t.Context(), want)
		ended <- err
	}()
	addBridge(t, c.Space, "eth0", "192.0.2.5/24")
	c.Remember(t)
	w.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name = "late0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "late1"}); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range []string{"late1", "late0"} {
		change(t, w.Host, name, netlink.LinkSetUp)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("error %v, want one that names eth0", err)
	}
	c.Same(t)
	change(t, w.Host, "late0", netlink.LinkDel)
	w.empty(t)
}
