//go:build linux

// Package device tests network cards that are moved into containers and come back. It boots guests with cards, since the kernel
// gives back real ones alone: a veth ends with the namespace. It runs on the host.
package device

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/tests/vm"
)

// policy has the guest's second card, by each of its names.
const policy = `version = 1

[network.card]
driver = "host-device"
device = "eth1"
  [[network.card.subnet]]
  subnet  = "10.9.0.0/24"
  gateway = "10.9.0.1"
  [[network.card.subnet]]
  subnet  = "fd09::/64"

[network.bymac]
driver = "host-device"
ipam   = "none"
device = { mac = "52:00:00:00:00:01" }

[network.bypci]
driver = "host-device"
ipam   = "none"
device = { pci = "PCI" }

[network.byaltname]
driver = "host-device"
ipam   = "none"
device = "left-port"

[network.uplink]
driver = "host-device"
ipam   = "none"
device = "eth0"

[[rule]]
name     = "all"
match    = {}
networks = ["*"]
ip       = true
mac      = true
`

// host is a guest with two cards on one wire, on which a container's pings reach the first: eth0, which has the default route,
// and eth1, which has all that a card can have.
type host struct {
	*vm.Guest
	before string
}

// program builds lanhook in a folder that the guest sees.
func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lanhook")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", file, "../../../hook")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lanhook: %v\n%s", err, out)
	}
	return file
}

func newHost(t *testing.T, kernel, lanhook string) *host {
	t.Helper()
	s := vm.NewSwitch()
	t.Cleanup(s.Close)
	var ports []*vm.Port
	for i, name := range []string{"eth0", "eth1"} {
		p, err := s.Port(name, vm.PortOptions{MAC: []byte{0x52, 0, 0, 0, 0, byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	h := &host{Guest: vm.New(t, vm.Options{Kernel: kernel, NICs: ports, Keep: []string{filepath.Dir(lanhook)}})}
	h.Script(t, `
		install -m 0755 `+lanhook+` /usr/local/bin/lanhook
		mkdir -p /etc/lanhook /run/lanhook /srv
		chmod 0700 /run/lanhook
		ip link set lo up
		ip address add 10.9.0.1/24 dev eth0
		ip address add fd09::1/64 dev eth0 nodad
		ip link set eth0 up
		ip route add default via 10.9.0.254 dev eth0
		ip link set eth1 mtu 1400 txqueuelen 77 alias "left of the door"
		ip link property add dev eth1 altname left-port
		ip link set eth1 allmulticast on
		ip address add 192.0.2.7/24 dev eth1
		ip address add 192.0.2.8/32 dev eth1
		ip address add 2001:db8::7/64 dev eth1 nodad
		ip link set eth1 up
		sleep 2 # for the addresses that the kernel makes`)
	pci := h.Script(t, `basename $(dirname $(readlink -f /sys/class/net/eth1/device))`)
	h.put(t, "/etc/lanhook/policy.toml", strings.ReplaceAll(policy, "PCI", pci))
	h.before = h.state(t)
	return h
}

// put writes a file.
func (h *host) put(t *testing.T, path, content string) {
	t.Helper()
	r, err := h.Run(t.Context(), vm.Cmd{Args: []string{"sh", "-c", `cat >"$0"`, path}, Stdin: []byte(content)})
	if err != nil || r.Exit != 0 {
		t.Fatalf("write %s: %v %+v", path, err, r)
	}
}

// state is all of the card that is to be again as it was. The numbers of links and the timers are left out.
func (h *host) state(t *testing.T) string {
	t.Helper()
	return h.Script(t, `
		ip -d -o link show | sed -E 's/^[0-9]+: //; s/promiscuity [0-9]+ (allmulti [0-9]+ )?//'
		ip -o address show | sed -E 's/^[0-9]+: //' | sort
		ip route show table all | sort; ip -6 route show table all | sort
		ls -A /run/netns 2>/dev/null || true
		lanhook ls --json`)
}

// same waits until the host is as it was.
func (h *host) same(t *testing.T) {
	t.Helper()
	var now string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if now = h.state(t); now == h.before {
			return
		}
	}
	t.Errorf("the host is not as it was (-before +now):\n%s", cmp.Diff(strings.Split(h.before, "\n"), strings.Split(now, "\n")))
}

// fails runs a script that is to fail, and wants words among what it writes to standard error.
func (h *host) fails(t *testing.T, script string, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Run(ctx, vm.Cmd{Args: []string{"sh", "-euc", script}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit == 0 {
		t.Errorf("%s: it has not failed: %s%s", script, r.Stdout, r.Stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("%s: no %q in: %s", script, w, r.Stderr)
		}
	}
}

// bundle makes a bundle of runc's whose container has interfaces of networks.
func (h *host) bundle(t *testing.T, id string, annotations map[string]string) {
	t.Helper()
	h.Script(t, `mkdir -p /srv/`+id+`/rootfs/bin /srv/`+id+`/rootfs/proc /srv/`+id+`/rootfs/sys
		cp /usr/bin/busybox /srv/`+id+`/rootfs/bin/
		cd /srv/`+id+`; rm -f config.json; runc spec`)
	var spec map[string]any
	if err := json.Unmarshal([]byte(h.Script(t, `cat /srv/`+id+`/config.json`)), &spec); err != nil {
		t.Fatal(err)
	}
	process := spec["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/bin/busybox", "sleep", "1000"}
	caps := process["capabilities"].(map[string]any)
	for set := range caps {
		caps[set] = []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_KILL"}
	}
	spec["annotations"] = annotations
	hook := func(stage string) []map[string]any {
		return []map[string]any{{"path": "/usr/local/bin/lanhook", "args": []string{"lanhook", "hook", stage}, "timeout": 30}}
	}
	spec["hooks"] = map[string]any{"createRuntime": hook("createRuntime"), "poststop": hook("poststop")}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	h.put(t, "/srv/"+id+"/config.json", string(text))
}

// start runs a container of runc's.
func (h *host) start(t *testing.T, id, network string) {
	t.Helper()
	h.bundle(t, id, map[string]string{"io.lanhook.network": network})
	h.Script(t, `cd /srv; runc run -d -b /srv/`+id+` `+id+` </dev/null >/srv/`+id+`/log 2>&1 || { cat /srv/`+id+`/log >&2; exit 1; }`)
}

// killed ends a container so that nobody calls poststop.
func (h *host) killed(t *testing.T, id string) {
	t.Helper()
	h.Script(t, `kill -9 $(runc state `+id+` | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
		rm -rf /run/runc/`+id+` /run/user/0/runc/`+id)
}

func TestDevice(t *testing.T) {
	lanhook := program(t)
	for _, kernel := range vm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, kernel, lanhook)
			for _, test := range []struct {
				name string
				run  func(*host, *testing.T)
				// only is the one kernel for what is lanhook's doing; "" is all.
				only string
			}{
				{name: "life", run: (*host).life},
				{name: "names", run: (*host).names, only: vm.Oldest},
				{name: "killed", run: (*host).ends},
				{name: "changed by the container", run: (*host).changed},
				{name: "next container", run: (*host).next},
				{name: "unplugged", run: (*host).unplugged},
				{name: "name taken", run: (*host).nameTaken},
				{name: "kept", run: (*host).kept},
				{name: "elsewhere", run: (*host).elsewhere},
				{name: "refused", run: (*host).refused, only: vm.Oldest},
				{name: "cut off", run: (*host).cutOff, only: vm.Newest},
			} {
				if test.only != "" && test.only != kernel {
					continue
				}
				if !t.Run(test.name, func(t *testing.T) { test.run(h, t) }) {
					t.Logf("the end of lanhook's log:\n%s", h.Script(t, `tail -n 5 /run/lanhook/log || true; ip -br address`))
					t.FailNow()
				}
			}
		})
	}
}

// life is what happens as a rule.
func (h *host) life(t *testing.T) {
	h.start(t, "one", "card,ip=10.9.0.77,ip=fd09::77")
	inside := h.Script(t, `runc exec one /bin/busybox ip address show eth0
		runc exec one /bin/busybox ip route
		runc exec one /bin/busybox ping -c 2 -w 20 10.9.0.1
		runc exec one /bin/busybox ping -c 2 -w 20 fd09::1`)
	for _, want := range []string{"10.9.0.77/24", "fd09::77/64", "52:00:00:00:00:01", "mtu 1400", "default via 10.9.0.1"} {
		if !strings.Contains(inside, want) {
			t.Errorf("the container has no %q:\n%s", want, inside)
		}
	}
	if strings.Contains(inside, "192.0.2.") {
		t.Errorf("the container has an address of the host:\n%s", inside)
	}
	if out := h.Script(t, `ip -br link`); strings.Contains(out, "52:00:00:00:00:01") {
		t.Errorf("the host still has the card:\n%s", out)
	}
	h.Script(t, `lanhook check
		lanhook ls | grep 'one .* eth0 .* card'
		lanhook inspect one | grep 'host-device card on eth1'
		lanhook network ls | grep 'card .* host-device .* eth1 '
		lanhook network inspect card | grep 'eth1 (present: true)'`)
	h.bundle(t, "two", map[string]string{"io.lanhook.network": "card"})
	h.fails(t, `cd /srv; runc run -d -b /srv/two two </dev/null`, "device eth1 is in use by interface eth0 of container one")
	h.Script(t, `runc kill one KILL; while runc state one | grep -q running; do sleep 0.1; done; runc delete one`)
	h.same(t)
}

// names are the ways to select a card.
func (h *host) names(t *testing.T) {
	for _, network := range []string{"bymac", "bypci", "byaltname"} {
		h.Script(t, `ip netns add c; lanhook attach /run/netns/c --network eth0:`+network+`
			ip -n c link show eth0 | grep -q 52:00:00:00:00:01`)
		h.fails(t, `ip netns add d; trap 'ip netns del d' EXIT; lanhook attach /run/netns/d --network eth0:`+network, "is in use by interface eth0 of container")
		h.Script(t, `lanhook detach /run/netns/c; ip netns del c`)
		h.same(t)
	}
}

// ends kills a container; gc finds the card where the kernel has put it.
func (h *host) ends(t *testing.T) {
	h.start(t, "one", "card,mac=52:00:00:00:00:99")
	h.killed(t, "one")
	h.Script(t, `lanhook gc`)
	h.same(t)
	// Here the kernel lets it keep its name.
	h.bundle(t, "two", map[string]string{"io.lanhook.network.eth1": "card"})
	h.Script(t, `cd /srv; runc run -d -b /srv/two two </dev/null >/dev/null 2>&1`)
	h.killed(t, "two")
	h.Script(t, `lanhook gc`)
	h.same(t)
}

// changed lets a container change of the card what it can, before it gives it back and before it dies.
func (h *host) changed(t *testing.T) {
	for _, end := range []string{`lanhook detach one`, `kill -9 $pid; lanhook gc`} {
		h.start(t, "one", "card")
		h.Script(t, `pid=$(runc state one | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
			inside() { nsenter -t $pid -n "$@"; }
			inside ip link set eth0 down
			inside ip link set eth0 address 52:00:00:00:00:55 mtu 1300 txqueuelen 5 alias mine promisc on
			inside ip link set eth0 name mine
			inside ip link property add dev mine altname eth0
			inside ip link property add dev mine altname eth1
			inside ip link property del dev mine altname left-port
			`+end+`
			runc delete -f one || true`)
		h.same(t)
	}
}

// next is a container that finds the card held by a dead one.
func (h *host) next(t *testing.T) {
	h.start(t, "one", "card")
	h.killed(t, "one")
	h.start(t, "two", "card")
	h.Script(t, `runc exec two /bin/busybox ping -c 1 -w 20 10.9.0.1; runc delete -f two`)
	h.same(t)
}

// unplugged pulls the card out while a container has it.
func (h *host) unplugged(t *testing.T) {
	h.start(t, "one", "card")
	h.Script(t, `slot=$(sed -n 's/.*pci = "\(.*\)".*/\1/p' /etc/lanhook/policy.toml)
		echo 1 >/sys/bus/pci/devices/$slot/remove
		runc delete -f one
		[ "$(lanhook ls --json | tr -d '[:space:]')" = '[]' ]
		echo 1 >/sys/bus/pci/rescan
		for i in 1 2 3 4 5 6 7 8 9 10; do ip link | grep -q 52:00:00:00:00:01 && break; sleep 0.3; done
		name=$(ip -o link | sed -n 's/^[0-9]*: \([^:]*\):.*52:00:00:00:00:01.*/\1/p')
		ip link set "$name" name eth1
		ip link set eth1 mtu 1400 txqueuelen 77 alias "left of the door"
		ip link property add dev eth1 altname left-port
		ip link set eth1 allmulticast on
		ip address add 192.0.2.7/24 dev eth1
		ip address add 192.0.2.8/32 dev eth1
		ip address add 2001:db8::7/64 dev eth1 nodad
		ip link set eth1 up`)
	h.same(t)
}

// nameTaken has another link of the card's name on the host.
func (h *host) nameTaken(t *testing.T) {
	for _, end := range []string{`lanhook detach /run/netns/c; ip netns del c`, `ip netns del c; lanhook gc`} {
		h.Script(t, `ip netns add c; lanhook attach /run/netns/c --network eth0:card; ip link add eth1 type dummy`)
		h.fails(t, end, "device eth1 is back, but called dev", "another link of its name", "name eth1")
		h.Script(t, `ip netns del c 2>/dev/null || true
			[ "$(lanhook ls --json | tr -d '[:space:]')" = '[]' ]
			ip link del eth1
			name=$(ip -o link | sed -n 's/^[0-9]*: \(dev[0-9]*\):.*52:00:00:00:00:01.*/\1/p')
			ip link set "$name" down; ip link set "$name" name eth1; ip link set eth1 up
			# What was renamed by hand has other labels, and is without IPv6 addresses.
			ip address del 192.0.2.8/32 dev eth1; ip address add 192.0.2.8/32 dev eth1
			ip -6 address replace 2001:db8::7/64 dev eth1 nodad`)
		h.same(t)
	}
}

// kept has a process hold the namespace by an open file alone.
func (h *host) kept(t *testing.T) {
	h.start(t, "one", "card")
	h.fails(t, `pid=$(runc state one | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
		exec 9</proc/$pid/ns/net
		kill -9 $pid; rm -rf /run/runc/one /run/user/0/runc/one
		lanhook detach one`, "take device eth1 back", "in another network namespace")
	h.Script(t, `lanhook gc`)
	h.same(t)
}

// elsewhere has lanhook work in another namespace than the kernel's first, to which the kernel gives cards.
func (h *host) elsewhere(t *testing.T) {
	h.Script(t, `ip netns add host; ip link set eth1 netns host; ip netns add c
		ip -n host address add 192.0.2.7/24 dev eth1
		ip netns exec host lanhook attach /run/netns/c --network eth0:card`)
	h.fails(t, `ip netns del c; ip netns exec host lanhook gc`, "take device eth1 back", "first network namespace")
	h.Script(t, `name=$(ip -o link | sed -n 's/^[0-9]*: \([^:]*\):.*52:00:00:00:00:01.*/\1/p')
		ip link set "$name" netns host
		ip netns exec host lanhook gc
		ip -n host -br address show eth1 | grep -q 192.0.2.7/24
		ip -n host link set eth1 down
		ip -n host link set eth1 netns 1
		ip netns del host
		ip address add 192.0.2.7/24 dev eth1
		ip address add 192.0.2.8/32 dev eth1
		ip address add 2001:db8::7/64 dev eth1 nodad
		ip link set eth1 up`)
	h.same(t)
}

// refused are cards that the host needs.
func (h *host) refused(t *testing.T) {
	attach := `ip netns add c; trap 'ip netns del c' EXIT; lanhook attach /run/netns/c --network eth0:`
	h.fails(t, attach+`uplink`, "device eth0 stays with the host: it has the host's default route")
	h.Script(t, `ip link add br0 type bridge; ip link set eth1 master br0`)
	h.fails(t, attach+`card`, "device eth1 stays with the host: it is a port of bridge br0")
	h.Script(t, `ip link del br0; ip link add link eth1 name eth1.5 type vlan id 5`)
	h.fails(t, attach+`card`, "device eth1 stays with the host: vlan eth1.5 hangs on it")
	h.Script(t, `ip link del eth1.5; ip link set eth1 allmulticast on; ip link set eth1 up`)
	h.fails(t, `ip netns add c; trap 'ip netns del c' EXIT; lanhook attach /run/netns/c --network left-port:card`, "alternative name left-port")
	h.same(t)
}

// cutOff kills lanhook at moments that are spread over an attach and a detach, and gc makes all good: while the namespace lives,
// and after its end. At each single deed it is killed in the tests of netsetup.
func (h *host) cutOff(t *testing.T) {
	begun := time.Now()
	h.Script(t, `ip netns add c; lanhook attach /run/netns/c --network eth0:card`)
	took := time.Since(begun)
	h.Script(t, `lanhook detach /run/netns/c; ip netns del c`)
	const tries = 6
	got := map[string]int{}
	for i := range tries {
		got[h.Script(t, fmt.Sprintf(`ip netns add c
			if timeout -s KILL %[1]f lanhook attach /run/netns/c --network eth0:card >/dev/null 2>&1; then echo whole
			elif ip link show eth1 >/dev/null 2>&1; then echo "not moved"
			else echo moved; fi
			timeout -s KILL %[1]f lanhook detach /run/netns/c >/dev/null 2>&1 || true
			[ %[2]d = 0 ] || lanhook gc >/dev/null
			ip netns del c
			lanhook gc >/dev/null`, 1.5*took.Seconds()*float64(i+1)/tries, i%2))]++
		h.same(t)
	}
	t.Logf("attach took %s; cut off: %v", took, got)
}
