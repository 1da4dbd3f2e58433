//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"

	"github.com/lanhook/lanhook/hook/oci"
)

const (
	netavarkProgram = "/usr/lib/podman/netavark"
	cniFolder       = "/usr/lib/cni"
	policyFile      = folder + "/policy.toml"
)

// driver is the kind of network.
type driver string

const (
	macvlan driver = "macvlan"
	// reached is a macvlan whose containers the host reaches.
	reached driver = "reached"
	// asked is a macvlan whose LAN is asked for each address before a container has it.
	asked driver = "asked"
	// bridge is one without any rules of a firewall.
	bridge driver = "bridge"
	// published is a bridge behind the host's addresses, with a port of the host's for each container.
	published driver = "published"
)

// contender attaches containers to a network and detaches them. All give them an address of a /16 and, but for netavark
// on a bridge, a default route.
type contender interface {
	name() string
	attach(h *host, c *container, d driver) command
	detach(h *host, c *container, d driver) command
	// bridge is the bridge that it makes.
	bridge() string
	// late says whether it is told to detach when the container's namespace is gone.
	late() bool
}

func contenders(l *lab) []contender {
	return []contender{&floor{lab: l, link: "fl0", subnet: 70}, &lanhook{l}, netavark{}, &cni{}}
}

// floor is the C program. Its addresses are 10.SUBNET.64.0 and up on a bridge, and 10.66.64.0 and up as a macvlan.
type floor struct {
	*lab
	link   string
	subnet int
	// last is true when a detach removes the bridge as well.
	last bool
}

func (f *floor) name() string   { return "floor" }
func (f *floor) late() bool     { return true }
func (f *floor) bridge() string { return f.link }

func (f *floor) command(format string, args ...any) command {
	return command{
		argv: []string{filepath.Join(f.tools, "floor")}, stdin: fmt.Appendf(nil, format+"\n", args...), silent: true,
	}
}

func (f *floor) attach(_ *host, c *container, d driver) command {
	subnet, uplink := 66, "lan0"
	if d == bridge {
		subnet, uplink = f.subnet, f.link
	}
	high, low := c.number>>8&0x3f, c.number&0xff
	return f.command("attach %s %d fl%d 10.%d.%d.%d 16 10.%d.0.1 %s 02:f0:00:00:%02x:%02x", d, c.process.Pid, c.number,
		subnet, 64+high, low, subnet, uplink, high, low)
}

func (f *floor) detach(_ *host, c *container, d driver) command {
	if d == macvlan {
		return f.command("detach macvlan %s", bytes.TrimSpace(c.told))
	}
	if f.last {
		return f.command("detach bridge %s fl%d %s", bytes.TrimSpace(c.told), c.number, f.link)
	}
	return f.command("detach bridge %s fl%d", bytes.TrimSpace(c.told), c.number)
}

// policyText is lanhook's policy: networks named as their drivers, for everybody.
const policyText = `version = 1

[network.macvlan]
driver = "macvlan"
parent = "lan0"
conflict = "off"

  [[network.macvlan.subnet]]
  subnet  = "10.66.0.0/16"
  range   = "10.66.16.0/20"
  gateway = "10.66.0.1"

[network.asked]
driver = "macvlan"
parent = "lan0"
conflict = "next"

  [[network.asked.subnet]]
  subnet  = "10.66.0.0/16"
  range   = "10.66.80.0/20"
  gateway = "10.66.0.2"         # the host's own is refused

[network.reached]
driver = "macvlan"
parent = "lan0"
host-access = true
conflict = "off"

  [[network.reached.subnet]]
  subnet  = "10.66.0.0/16"
  range   = "10.66.48.0/20"
  gateway = "10.66.0.1"

[network.bridge]
driver   = "bridge"
bridge   = "lh0"
firewall = false

  [[network.bridge.subnet]]
  subnet  = "10.67.0.0/16"
  range   = "10.67.16.0/20"
  gateway = "10.67.0.1"

[network.published]
driver = "bridge"
bridge = "lh1"

  [[network.published.subnet]]
  subnet  = "10.71.0.0/16"
  range   = "10.71.16.0/20"
  gateway = "10.71.0.1"
` + ruleText

const ruleText = `
[[rule]]
name     = "all"
match    = {}
networks = ["*"]
publish  = true
`

// lanhook is called as runc calls a hook.
type lanhook struct{ *lab }

func (n *lanhook) name() string   { return "lanhook" }
func (n *lanhook) late() bool     { return true }
func (n *lanhook) bridge() string { return "lh0" }

// state is what a runtime tells a hook (runtime-spec, "State").
type state struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	PID         int               `json:"pid"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations"`
}

func (n *lanhook) attach(h *host, c *container, d driver) command {
	if d == published {
		return n.publish(h, c, fmt.Sprintf("%d:%d", c.port(), containerPort))
	}
	return n.hook(h, "createRuntime", d, state{ID: c.id, Status: "creating", PID: c.process.Pid})
}

// publish attaches a container with ports as io.lanhook.publish has them.
func (n *lanhook) publish(h *host, c *container, ports string) command {
	return n.hook(h, "createRuntime", published, state{
		ID: c.id, Status: "creating", PID: c.process.Pid,
		Annotations: map[string]string{"io.lanhook.publish": ports},
	})
}

func (n *lanhook) detach(h *host, c *container, d driver) command {
	return n.hook(h, "poststop", d, state{ID: c.id, Status: "stopped"})
}

func (n *lanhook) hook(h *host, stage string, d driver, s state) command {
	s.OCIVersion = "1.2.0"
	s.Bundle = "/run/containerd/io.containerd.runtime.v2.task/default/" + s.ID
	annotations := map[string]string{"io.lanhook.network": string(d)}
	maps.Copy(annotations, s.Annotations)
	s.Annotations = annotations
	stdin, err := json.Marshal(s)
	if err != nil {
		stdin = nil // It has strings and a number only.
	}
	argv := []string{n.lanhook, "hook", stage}
	if stage != "poststop" {
		argv = append(argv, "--policy", policyFile)
	}
	return command{
		argv: append(argv, "--state-dir", n.stateDir(h)), env: oci.DefaultEnv(), stdin: stdin, silent: true,
	}
}

func (n *lanhook) stateDir(h *host) string { return filepath.Join(h.dir, "lanhook") }

// command is one of the administrator's.
func (n *lanhook) command(h *host, args ...string) command {
	return command{argv: append([]string{n.lanhook, "--state-dir", n.stateDir(h)}, args...), silent: true}
}

// netavark is called as podman calls it; podman chooses the addresses itself. A bridge network is an internal one: for
// any other, netavark 1.4 always sets up a firewall, which the others here do not, by calling iptables 20 times.
type netavark struct{}

func (netavark) name() string   { return "netavark" }
func (netavark) late() bool     { return false }
func (netavark) bridge() string { return "nv0" }

const netavarkText = `{"container_id":"%[1]s","container_name":"c%[2]d",
"networks":{"bench":{"static_ips":["10.%[3]d.%[4]d.%[5]d"],"interface_name":"eth0"}},
"network_info":{"bench":{"name":"bench","id":"53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e",
"driver":"%[6]s","network_interface":"%[7]s","subnets":[{"subnet":"10.%[3]d.0.0/16","gateway":"10.%[3]d.0.1"}],
"ipv6_enabled":false,"internal":%[8]t,"dns_enabled":false,"ipam_options":{"driver":"host-local"}}}%[9]s}`

func (n netavark) attach(h *host, c *container, d driver) command { return n.command("setup", h, c, d) }

func (n netavark) detach(h *host, c *container, d driver) command {
	return n.command("teardown", h, c, d)
}

func (n netavark) command(verb string, h *host, c *container, d driver) command {
	subnet, link, kind, ports := 66, "lan0", d, ""
	switch d {
	case macvlan, asked, reached, ipvlan, macvlanOnVLAN, vlan:
	case bridge:
		subnet, link = 69, n.bridge()
	case published:
		subnet, link, kind = 72, "nv1", bridge
		ports = fmt.Sprintf(`,"port_mappings":[{"host_ip":"","protocol":"tcp","host_port":%d,"container_port":%d,"range":1}]`,
			c.port(), containerPort)
	}
	return command{
		argv: []string{
			netavarkProgram, "--config", filepath.Join(h.dir, "netavark"), "--rootless", "false",
			"--aardvark-binary", "/usr/lib/podman/aardvark-dns", verb, c.netns(),
		},
		stdin: fmt.Appendf(nil, netavarkText, c.id, c.number, subnet, 64+c.number>>8&0x3f, c.number&0xff, kind, link,
			d == bridge, ports),
	}
}

// cni are the plugins that containerd, CRI-O and Kubernetes call, with their host-local for addresses, which they start
// themselves. As libcni does, a DEL is given what ADD answered.
type cni struct{}

func (*cni) name() string   { return "CNI" }
func (*cni) late() bool     { return false }
func (*cni) bridge() string { return "cni0" }

const cniText = `{"cniVersion":"1.0.0","name":"%[1]s","type":"%[1]s",%[2]s"ipam":{"type":"host-local","dataDir":"%[3]s",
"ranges":[[{"subnet":"10.%[4]d.0.0/16","rangeStart":"10.%[4]d.32.1","rangeEnd":"10.%[4]d.47.254","gateway":"10.%[4]d.0.1"}]],
"routes":[{"dst":"0.0.0.0/0"}]}%[5]s}`

func (p *cni) attach(h *host, c *container, d driver) command { return p.command("ADD", h, c, d, "") }

func (p *cni) detach(h *host, c *container, d driver) command {
	return p.command("DEL", h, c, d, `,"prevResult":`+string(c.told))
}

func (p *cni) command(verb string, h *host, c *container, d driver, last string) command {
	subnet, own := 66, `"master":"lan0","mode":"bridge",`
	if d == bridge {
		subnet, own = 68, fmt.Sprintf(`"bridge":%q,"isGateway":true,"ipMasq":false,`, p.bridge())
	}
	return command{
		argv:  []string{filepath.Join(cniFolder, string(d))},
		env:   cniEnvironment(verb, c),
		stdin: fmt.Appendf(nil, cniText, d, own, filepath.Join(h.dir, "cni"), subnet, last),
	}
}

func cniEnvironment(verb string, c *container) []string {
	return []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + c.id, "CNI_NETNS=" + c.netns(), "CNI_IFNAME=eth0",
		"CNI_PATH=" + cniFolder,
	}
}
