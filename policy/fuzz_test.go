package policy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy/request"
)

// seeds are the policies of all golden files.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*", "*.txtar"))
	if err != nil || len(files) < 5 {
		f.Fatalf("%d golden files: %v", len(files), err)
	}
	var out [][]byte
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, one := range a.Files {
			if strings.HasSuffix(one.Name, ".toml") {
				out = append(out, one.Data)
			}
		}
	}
	return out
}

// FuzzDecode: whatever is written, there is a policy or there are errors with places in the file; what TOML forbids is
// never a policy; and a policy keeps what Decide and the allocator rely on.
func FuzzDecode(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode([]File{{"p.toml", data}})
		if err != nil {
			checkErrors(t, p, err, data)
			return
		}
		var any map[string]any
		if err := toml.Unmarshal(data, &any); err != nil {
			t.Errorf("a policy was made of what is not TOML: %v", err)
		}
		for name, n := range p.Networks {
			if name != n.Name || n.Driver == 0 || n.MAC == 0 || n.IPAM == 0 || (n.Driver == Macvlan || n.Driver == IPVLAN) != (n.Mode != 0) {
				t.Errorf("network %q is not whole: %+v", name, n)
			}
			if (n.IPAM == IPAMNone) != (len(n.Subnets) == 0) {
				t.Errorf("network %q: ipam %s with %d subnets", name, n.IPAM, len(n.Subnets))
			}
			checkRules(t, n)
			checkLinkOf(t, n)
			for _, o := range p.Networks {
				if why := n.clash(o); n != o && why != "" {
					t.Errorf("networks %q and %q: %s", name, o.Name, why)
				}
			}
			for i, s := range n.Subnets {
				checkSubnet(t, n, s)
				for _, o := range n.Subnets[:i] {
					if o.Prefix.Overlaps(s.Prefix) {
						t.Errorf("network %q: %s overlaps %s", name, s.Prefix, o.Prefix)
					}
				}
			}
		}
	})
}

func checkErrors(t *testing.T, p *Policy, err error, data []byte) {
	t.Helper()
	all, ok := errors.AsType[Errors](err)
	if p != nil || !ok || len(all) == 0 {
		t.Fatalf("Decode = %v, %v", p, err)
	}
	lines := strings.Count(string(data), "\n") + 1
	for i, e := range all {
		if e.Line < 1 || e.Line > lines || e.Col < 1 || strings.Contains(e.Error(), "\n") || !utf8.ValidString(e.Error()) {
			t.Errorf("the place or text of %q is wrong", e.Error())
		}
		if i > 0 && (all[i-1].Line > e.Line || all[i-1].Line == e.Line && all[i-1].Col > e.Col) {
			t.Errorf("%q comes after %q", e, all[i-1])
		}
	}
}

// checkRules compares what a network says of the firewall with itself.
func checkRules(t *testing.T, n *Network) {
	t.Helper()
	if (n.Driver == Bridge) != (n.GatewayMode != 0) || n.Driver != Bridge && (n.Firewall || n.ICC || n.Isolate) {
		t.Errorf("network %q: driver %s has %+v", n.Name, n.Driver, n)
	}
	if shut := n.Closed() || !n.Firewall; shut && len(n.Bind)+len(n.DNAT) > 0 || n.Closed() && (n.DefaultRoute || !n.Isolate) {
		t.Errorf("network %q: something passes: %+v", n.Name, n)
	}
	if len(n.Bind) > 2 || len(n.DNAT) > 2 {
		t.Errorf("network %q: %v and %v are not one a family", n.Name, n.Bind, n.DNAT)
	}
	for _, s := range n.Subnets {
		if s.Masquerade && (n.Closed() || !n.Firewall) || s.SNAT.IsValid() && !s.Masquerade ||
			s.SNAT.IsValid() && s.SNAT.Is4() != s.Prefix.Addr().Is4() {
			t.Errorf("network %q: subnet %+v", n.Name, s)
		}
		if s.Gateway.IsValid() && n.GatewayMode == GatewayIsolated {
			t.Errorf("network %q: gateway %s", n.Name, s.Gateway)
		}
	}
	for _, r := range []Rate{n.Rates.In, n.Rates.Out} {
		if r != (Rate{}) && (r.Bits < minRate || r.Bits > maxRate || r.Burst < minBurst || r.Burst > maxBurst) {
			t.Errorf("network %q: rate %+v", n.Name, r)
		}
	}
}

// checkLinkOf compares what a network says of its link with its driver.
func checkLinkOf(t *testing.T, n *Network) {
	t.Helper()
	tagged := n.Driver == Macvlan || n.Driver == IPVLAN || n.Driver == VLAN
	for _, tag := range n.VLAN {
		if tag.ID < 1 || tag.ID > 4094 || tag.Protocol != Dot1Q && tag.Protocol != Dot1AD {
			t.Errorf("network %q: tag %+v", n.Name, tag)
		}
	}
	if len(n.VLAN) > 2 || len(n.VLAN) > 0 && !tagged || len(n.VLAN) == 0 && n.Driver == VLAN {
		t.Errorf("network %q: %s with tags %v", n.Name, n.Driver, n.VLAN)
	}
	if tagged != (n.ParentWait > 0 || n.Parent.String() != "none") || (n.Driver == HostDevice) != (n.Device.String() != "none") {
		t.Errorf("network %q: %s with parent %s and device %s", n.Name, n.Driver, n.Parent, n.Device)
	}
	if keeps := n.Driver == VLAN || n.Driver == HostDevice; n.MAC == MACKeep && !keeps && n.Driver != IPVLAN ||
		n.Driver == IPVLAN && n.MAC != MACKeep || (n.Flag != 0) != (n.Driver == IPVLAN) {
		t.Errorf("network %q: %s with mac %s and flag %s", n.Name, n.Driver, n.MAC, n.Flag)
	}
	if n.Driver != Bridge && (n.Access != 0 || n.Trunk != nil || n.DefaultVLAN || n.VRF != "" || n.HasUplink()) ||
		n.OnLAN() && n.Firewall || n.DefaultVLAN && !n.FiltersVLANs() || n.Access < 0 || n.Access > 4094 {
		t.Errorf("network %q: %+v", n.Name, n)
	}
	before := -1
	for _, r := range n.Trunk {
		if r.From <= before+1 || r.To < r.From || r.To > 4094 || r.From < 1 || r.From <= n.Access && n.Access <= r.To {
			t.Errorf("network %q: trunk %v beside vlan %d", n.Name, n.Trunk, n.Access)
		}
		before = r.To
	}
}

func checkSubnet(t *testing.T, n *Network, s Subnet) {
	t.Helper()
	usable := ipam.Usable(s.Prefix)
	if s.Prefix != s.Prefix.Masked() {
		t.Errorf("network %q: %s has host bits", n.Name, s.Prefix)
	}
	if s.Gateway.IsValid() && !usable.Contains(s.Gateway) && !s.Gateway.IsLinkLocalUnicast() {
		t.Errorf("network %q: gateway %s in %s", n.Name, s.Gateway, s.Prefix)
	}
	for _, r := range s.Ranges {
		if !usable.Contains(r.From) || !usable.Contains(r.To) {
			t.Errorf("network %q: range %s in %s", n.Name, r, s.Prefix)
		}
	}
	if n.IPAM == IPAMLocal && s.Pool().Size() == (ipam.Number{}) {
		t.Errorf("network %q: nothing to hand out in %s", n.Name, s.Prefix)
	}
}

// FuzzDecide: whatever is asked, the answer is attachments within what the rule grants, or a refusal.
func FuzzDecide(f *testing.F) {
	var policies []*Policy
	for _, file := range []string{"lan.txtar", "spellout.txtar", "vlan.txtar"} {
		data, err := os.ReadFile(filepath.Join("testdata", "decide", file))
		if err != nil {
			f.Fatal(err)
		}
		p, err := Decode([]File{{"policy.toml", txtar.Parse(data).Files[0].Data}})
		if err != nil {
			f.Fatal(err)
		}
		policies = append(policies, p)
	}
	for _, value := range []string{
		"lan", "lan,ip=192.168.1.230,mac=02:42:00:00:00:07", "apps,ip=172.30.0.9", "fixed,ip=10.6.1.7/24",
		"lan,ip=192.168.1.2,ip=2001:db8::7,gateway=fe80::2,default-route=7,mtu=1400",
		"driver=macvlan,parent=ens192,ip=192.168.50.9/24", "driver=bridge,bridge=br-lab,ip=10.0.0.5/24",
		"driver=macvlan,parent=eth9.100,vlan=20", "driver=ipvlan,parent=eth9,mode=l3,flag=private", "driver=vlan,parent=wan.7,vlan=150",
		"driver=bridge,bridge=trunk0,vlan=20", "routed,default-route=true", "card,ip=10.0.60.1",
	} {
		f.Add(value, "plain", "8000:80", uint8(0))
		f.Add("lan", value, "53:53/udp", uint8(1))
		f.Add(value, "switched", "", uint8(2))
	}
	f.Fuzz(func(t *testing.T, first, second, publish string, which uint8) {
		annotations := map[string]string{request.Prefix + "network": first, request.Prefix + "network.eth1": second}
		if publish != "" {
			annotations[request.Prefix+"publish"] = publish
		}
		req, err := request.Parse(annotations)
		if err != nil {
			return
		}
		p := policies[int(which)%len(policies)]
		got, err := p.Decide(req, Subject{ID: "c", Engine: "podman", Annotations: annotations})
		var denied *DeniedError
		if err != nil {
			if got != nil || !errors.As(err, &denied) || denied.Rule != p.Rules[0].Name || strings.Contains(err.Error(), "\n") {
				t.Errorf("Decide = %v, %v", got, err)
			}
			return
		}
		if len(got) != len(req.Attachments) {
			t.Fatalf("%d attachments of %d", len(got), len(req.Attachments))
		}
		for _, a := range got {
			checkAttachment(t, &p.Rules[0], a)
		}
	})
}

// checkAttachment compares an attachment with the first rule of the golden files, without the code that decided.
func checkAttachment(t *testing.T, r *Rule, a Attachment) {
	t.Helper()
	if a.Network.Name == "" && !spellable(r.SpellOut, a.Network) {
		t.Errorf("%s is spelled out: %+v", a.IfName, a.Network)
	}
	if a.Network.Name != "" && !globAny(r.Networks, a.Network.Name) {
		t.Errorf("%s has network %s", a.IfName, a.Network.Name)
	}
	if a.MAC != nil && !strings.HasPrefix(a.MAC.String(), "02:42:") {
		t.Errorf("%s has %s", a.IfName, a.MAC)
	}
	if len(a.Sysctls) > len(a.Network.Sysctls) && !strings.HasSuffix(a.Sysctls[len(a.Sysctls)-1].Key, "_redirects") {
		t.Errorf("%s has %v", a.IfName, a.Sysctls)
	}
	for _, ip := range a.IPs {
		granted, inside := false, false
		for _, p := range r.IP {
			granted = granted || p.Contains(ip.Addr())
		}
		for _, s := range a.Network.Subnets {
			inside = inside || s.Prefix == ip.Masked() && s.Gateway != ip.Addr()
			for _, x := range s.Exclude {
				if x.Contains(ip.Addr()) {
					t.Errorf("%s has %s, which is excluded", a.IfName, ip)
				}
			}
		}
		if !granted || !inside {
			t.Errorf("%s has %s: granted %v, inside %v", a.IfName, ip, granted, inside)
		}
	}
}

// spellable says whether a rule grants each VLAN of a network that is spelled out, and what is below them.
func spellable(so *SpellOut, n *Network) bool {
	if so == nil || !slices.Contains(so.Drivers, n.Driver.String()) || n.Mode != 0 && !slices.Contains(so.Modes, n.Mode.String()) {
		return false
	}
	if n.Driver == Bridge {
		return globAny(so.Parents, n.Bridge) && (n.Access == 0 || covers(so.VLANs, n.Access))
	}
	wire, ids := SplitVLAN(n.Parent.Name)
	granted := globAny(so.Parents, wire)
	for _, tag := range n.VLAN {
		ids = append(ids, tag.ID)
	}
	for _, id := range ids {
		wire += "." + strconv.Itoa(id)
		granted = granted && covers(so.VLANs, id) || slices.Contains(so.Parents, wire)
	}
	return granted
}
