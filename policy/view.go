package policy

import (
	"maps"
	"net"
	"slices"
)

// View is a policy as `lanhook policy show` prints it, with the defaults filled in. Its JSON form is stable: fields may
// be added, and none changes its meaning.
type View struct {
	Files    []string      `json:"files"`
	Networks []NetworkView `json:"networks"`
	Rules    []RuleView    `json:"rules"`
}

// NetworkView is a network in the words of the policy.
type NetworkView struct {
	Name   string      `json:"name,omitempty"`
	Driver string      `json:"driver"`
	Mode   string      `json:"mode,omitempty"`
	Flag   string      `json:"flag,omitempty"`
	Parent *ParentView `json:"parent,omitempty"`
	// VLAN is one id, or the outer and the inner one; for a bridge that of a container's port.
	VLAN          []int        `json:"vlan,omitempty"`
	VLANProtocol  string       `json:"vlan_protocol,omitempty"`
	Device        *DeviceView  `json:"device,omitempty"`
	ParentWait    string       `json:"parent_wait,omitempty"`
	Bridge        string       `json:"bridge,omitempty"`
	Uplink        *ParentView  `json:"uplink,omitempty"`
	Trunk         []string     `json:"trunk,omitempty"`
	DefaultVLAN   bool         `json:"default_vlan,omitempty"`
	VRF           string       `json:"vrf,omitempty"`
	MTU           int          `json:"mtu,omitempty"`
	MAC           string       `json:"mac,omitempty"`
	IPAM          string       `json:"ipam"`
	Subnets       []SubnetView `json:"subnets,omitempty"`
	Conflict      string       `json:"conflict"`
	Announce      bool         `json:"announce"`
	IPv6          string       `json:"ipv6,omitempty"` // none for static
	SLAACWait     string       `json:"slaac_wait,omitempty"`
	Reserve       ReserveView  `json:"reserve,omitempty"`
	Internal      bool         `json:"internal,omitempty"`
	DefaultRoute  bool         `json:"default_route"`
	Metric        int          `json:"metric,omitempty"`
	Routes        []string     `json:"routes,omitempty"`
	Sysctls       []string     `json:"sysctls,omitempty"`
	Sources       []string     `json:"sources,omitempty"`
	BCQueueLength int          `json:"bcqueuelen,omitempty"`
	TXQueueLength int          `json:"txqueuelen,omitempty"`
	Promiscuous   bool         `json:"promiscuous,omitempty"`
	AllMulti      bool         `json:"allmulti,omitempty"`
	Hairpin       bool         `json:"hairpin,omitempty"`
	Firewall      bool         `json:"firewall,omitempty"`
	GatewayMode   string       `json:"gateway_mode,omitempty"`
	ICC           bool         `json:"icc,omitempty"`
	Isolate       bool         `json:"isolate,omitempty"`
	Bind          []string     `json:"bind,omitempty"`
	DNAT          []string     `json:"dnat,omitempty"`
	SpoofCheck    bool         `json:"spoof_check,omitempty"`
	Rate          *WaysView    `json:"rate,omitempty"`
	Burst         *WaysView    `json:"burst,omitempty"`
	Names         bool         `json:"names,omitempty"`
	DNS           []string     `json:"dns,omitempty"`
	DNSSearch     []string     `json:"dns_search,omitempty"`
	SourceRouting bool         `json:"source_routing"`
	// HostAccess gives the host a link beside the containers'; its addresses are picked where the subnets name none.
	HostAccess bool `json:"host_access,omitempty"`
}

// WaysView is something for each direction, "" for no bound: In is towards the container, Out away from it.
type WaysView struct {
	In  string `json:"in,omitempty"`
	Out string `json:"out,omitempty"`
}

// ParentView is how a parent is found. One field is set.
type ParentView struct {
	Name         string `json:"name,omitempty"`
	MAC          string `json:"mac,omitempty"`
	AltName      string `json:"altname,omitempty"`
	DefaultRoute bool   `json:"default_route,omitempty"`
}

// DeviceView is how a device is found. One field is set.
type DeviceView struct {
	Name string `json:"name,omitempty"`
	MAC  string `json:"mac,omitempty"`
	PCI  string `json:"pci,omitempty"`
}

// SubnetView is a subnet. Ranges that are missing mean the whole of it.
type SubnetView struct {
	Subnet  string   `json:"subnet"`
	Gateway string   `json:"gateway,omitempty"`
	Ranges  []string `json:"ranges,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Masquerade with SNAT hides behind that address, without it behind that of the link by which a packet leaves.
	Masquerade bool   `json:"masquerade,omitempty"`
	SNAT       string `json:"snat,omitempty"`
	// HostAddress is the host's own.
	HostAddress string `json:"host_address,omitempty"`
}

// ReserveView is the addresses that are kept for workloads, by their names.
type ReserveView map[string][]string

// RuleView is a rule.
type RuleView struct {
	Name          string        `json:"name"`
	Match         MatchView     `json:"match"`
	Networks      []string      `json:"networks,omitempty"`
	IP            []string      `json:"ip,omitempty"`
	IPAny         bool          `json:"ip_any,omitempty"`
	MAC           []string      `json:"mac,omitempty"`
	MACAny        bool          `json:"mac_any,omitempty"`
	Names         []string      `json:"names,omitempty"`
	Publish       []string      `json:"publish,omitempty"`
	DNAT          []string      `json:"dnat,omitempty"`
	Rate          *WaysView     `json:"rate,omitempty"`
	Burst         *WaysView     `json:"burst,omitempty"`
	Sysctl        []string      `json:"sysctl,omitempty"`
	SLAAC         bool          `json:"slaac,omitempty"`
	MaxInterfaces int           `json:"max_interfaces"`
	NetNS         []string      `json:"netns,omitempty"`
	SpellOut      *SpellOutView `json:"spell_out,omitempty"`
}

// MatchView are the conditions of a rule; without any it matches every container.
type MatchView struct {
	Annotations map[string][]string `json:"annotations,omitempty"`
	Engine      []string            `json:"engine,omitempty"`
	Namespace   []string            `json:"namespace,omitempty"`
	Bundle      []string            `json:"bundle,omitempty"`
	CGroup      []string            `json:"cgroup,omitempty"`
	ID          []string            `json:"id,omitempty"`
}

// SpellOutView is what may be spelled out.
type SpellOutView struct {
	Drivers []string `json:"drivers"`
	Parents []string `json:"parents"`
	VLANs   []string `json:"vlans,omitempty"`
	Modes   []string `json:"modes"`
}

// View is the policy for people and programs: networks by name, rules in their order.
func (p *Policy) View() View {
	v := View{Files: append([]string{}, p.Files...), Networks: []NetworkView{}, Rules: []RuleView{}}
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		v.Networks = append(v.Networks, p.Networks[name].View())
	}
	for i := range p.Rules {
		v.Rules = append(v.Rules, p.Rules[i].View())
	}
	return v
}

// View is the network in the words of the policy.
func (n *Network) View() NetworkView {
	v := NetworkView{
		Name: n.Name, Driver: n.Driver.String(), Mode: n.Mode.String(), Bridge: n.Bridge, MTU: n.MTU, IPAM: n.IPAM.String(),
		Conflict: n.Conflict.String(), Announce: n.Announce,
		Internal: n.Internal, DefaultRoute: n.DefaultRoute, Metric: n.Metric, BCQueueLength: n.BroadcastQueue,
		TXQueueLength: n.TxQueueLen, Promiscuous: n.Promiscuous, AllMulti: n.AllMulti, Hairpin: n.Hairpin,
		Names: n.Names, DNS: words(n.DNS), DNSSearch: n.DNSSearch, Firewall: n.Firewall, ICC: n.ICC, Isolate: n.Isolate,
		Bind: words(n.Bind), DNAT: words(n.DNAT), SpoofCheck: n.SpoofCheck, Flag: n.Flag.String(),
		Trunk: words(n.Trunk), DefaultVLAN: n.DefaultVLAN, VRF: n.VRF, SourceRouting: n.SourceRouting,
		HostAccess: n.HostAccess,
	}
	v.Rate, v.Burst = n.Rates.view()
	if n.IPv6 != IPv6Static {
		v.IPv6 = n.IPv6.String()
	}
	if n.IPv6 == IPv6SLAAC {
		v.SLAACWait = n.SLAACWait.String()
	}
	if n.Firewall {
		v.GatewayMode = n.GatewayMode.String()
	}
	if n.Mode != ModePassthru && n.Driver != IPVLAN {
		v.MAC = n.MAC.String()
	}
	n.viewLink(&v)
	v.Reserve = viewReserve(n.Reserve)
	v.Routes, v.Sysctls = words(n.Routes), words(n.Sysctls)
	v.Sources = words[net.HardwareAddr](n.Sources)
	for _, s := range n.Subnets {
		sub := SubnetView{Subnet: s.Prefix.String(), Ranges: words(s.Ranges), Exclude: words(s.Exclude), Masquerade: s.Masquerade}
		if s.SNAT.IsValid() {
			sub.SNAT = s.SNAT.String()
		}
		if s.Gateway.IsValid() {
			sub.Gateway = s.Gateway.String()
		}
		if s.HostAddress.IsValid() {
			sub.HostAddress = s.HostAddress.String()
		}
		v.Subnets = append(v.Subnets, sub)
	}
	return v
}

// viewLink adds what the link hangs on.
func (n *Network) viewLink(v *NetworkView) {
	switch n.Driver {
	case Macvlan, IPVLAN, VLAN:
		v.Parent, v.ParentWait = n.Parent.view(), n.ParentWait.String()
		for _, t := range n.VLAN {
			v.VLAN = append(v.VLAN, t.ID)
		}
		if len(n.VLAN) > 0 {
			v.VLANProtocol = n.VLAN[0].Protocol.String()
		}
	case Bridge:
		if n.HasUplink() {
			v.Uplink = n.Uplink.view()
		}
		if n.Access != 0 {
			v.VLAN = []int{n.Access}
		}
	case HostDevice:
		v.Device = &DeviceView{n.Device.Name, n.Device.MAC.String(), n.Device.PCI}
	}
}

func (p Parent) view() *ParentView {
	return &ParentView{p.Name, p.MAC.String(), p.AltName, p.DefaultRoute}
}

// View is the rule in the words of the policy.
func (r *Rule) View() RuleView {
	v := RuleView{
		Name: r.Name, Match: MatchView(r.Match), Networks: r.Networks, IP: words(r.IP), IPAny: r.IPAny, MAC: r.MAC,
		MACAny: r.MACAny, Names: r.Names, Publish: words(r.Publish), DNAT: words(r.DNAT), Sysctl: r.Sysctl, SLAAC: r.SLAAC,
		MaxInterfaces: r.most(),
		NetNS:         r.NetNS,
	}
	v.Rate, v.Burst = r.Rates.view()
	if r.SpellOut != nil {
		v.SpellOut = &SpellOutView{r.SpellOut.Drivers, r.SpellOut.Parents, words(r.SpellOut.VLANs), r.SpellOut.Modes}
	}
	return v
}

// view is the rates and the bursts as the policy writes them, nil for none.
func (r Rates) view() (rate, burst *WaysView) {
	if r == (Rates{}) {
		return nil, nil
	}
	return &WaysView{rateText(r.In.Bits), rateText(r.Out.Bits)}, &WaysView{burstText(r.In.Burst), burstText(r.Out.Burst)}
}

func words[T interface{ String() string }](list []T) []string {
	var out []string
	for _, one := range list {
		out = append(out, one.String())
	}
	return out
}
