package main

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/policy"
)

// onlyBridges has no network whose containers send from MAC addresses of their own to the machine's link.
func onlyBridges() *policy.Policy {
	return &policy.Policy{Networks: map[string]*policy.Network{
		"apps": {Name: "apps", Driver: policy.Bridge, Subnets: []policy.Subnet{{Prefix: netip.MustParsePrefix("172.30.0.0/16")}}},
		"all":  {Name: "all", Driver: policy.Macvlan, Mode: policy.ModePassthru},
		"ip":   {Name: "ip", Driver: policy.IPVLAN, Mode: policy.ModeL2},
		"tag":  {Name: "tag", Driver: policy.VLAN, MAC: policy.MACKeep},
		"card": {Name: "card", Driver: policy.HostDevice},
	}}
}

func TestHypervisorFindings(t *testing.T) {
	const dir = "sys/class/dmi/id/"
	dmi := func(words ...string) map[string]string {
		files := map[string]string{}
		for pair := range slices.Chunk(words, 2) {
			files[dir+pair[0]] = pair[1] + "\n"
		}
		return files
	}
	dropped := func(name string) string {
		return "this is " + name + ": unless that was allowed, frames of MAC addresses that are not its own are dropped outside of it, " +
			"and containers on the networks lan, office reach nobody"
	}
	for _, c := range []struct {
		name   string
		files  map[string]string
		policy *policy.Policy
		level  engine.Level
		means  string
		do     string
	}{
		{
			name: "VMware", files: dmi("sys_vendor", "VMware, Inc.", "product_name", "VMware20,1"), policy: policyOf(),
			level: engine.Warn, means: dropped("a VMware machine"),
			do: "in the port group's security settings: Promiscuous mode = Accept (or MAC learning, on a distributed switch), " +
				"Forged transmits = Accept and MAC address changes = Accept; or use driver ipvlan",
		},
		{
			name: "VMware without such networks", files: dmi("sys_vendor", "VMware, Inc."), policy: onlyBridges(), level: engine.OK,
			means: "this is a VMware machine, and no network of the policy sends from MAC addresses that are not the machine's",
		},
		{
			name: "no policy", files: dmi("sys_vendor", "Microsoft Corporation", "product_name", "Virtual Machine"), level: engine.Warn,
			means: "this is a Hyper-V machine: unless that was allowed, frames of MAC addresses that are not its own are dropped outside of it, " +
				"and containers on networks with MAC addresses of their own reach nobody",
			do: "on the host: Set-VMNetworkAdapter -VMName NAME -MacAddressSpoofing On; or use driver ipvlan",
		},
		{
			name: "Azure", policy: policyOf(), level: engine.Warn, means: dropped("an Azure machine"), do: noSetting,
			files: dmi("sys_vendor", "Microsoft Corporation", "product_name", "Virtual Machine", "chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"),
		},
		{
			name: "hardware of Microsoft's", files: dmi("sys_vendor", "Microsoft Corporation", "product_name", "Surface Pro 7"), policy: policyOf(),
			level: engine.OK, means: "no virtual machine that is known here: Microsoft Corporation Surface Pro 7",
		},
		{
			name: "Google Cloud", files: dmi("sys_vendor", "Google", "product_name", "Google Compute Engine"), policy: policyOf(),
			level: engine.Warn, means: dropped("a Google Cloud machine"), do: noSetting,
		},
		{
			name: "hardware of Google's", files: dmi("sys_vendor", "Google", "product_name", "Eve"), policy: policyOf(),
			level: engine.OK, means: "no virtual machine that is known here: Google Eve",
		},
		{
			name: "VirtualBox", files: dmi("sys_vendor", "innotek GmbH", "product_name", "VirtualBox"), policy: policyOf(),
			level: engine.Warn, means: dropped("a VirtualBox machine"),
			do: "on the host, with the machine off: VBoxManage modifyvm NAME --nic-promisc1 allow-all (1 is the adapter's number); or use driver ipvlan",
		},
		{
			name: "EC2 on Nitro", files: dmi("sys_vendor", "Amazon EC2", "product_name", "m5.large"), policy: policyOf(),
			level: engine.Warn, means: dropped("an Amazon EC2 machine"), do: noSetting,
		},
		{
			name: "EC2 on Xen", files: dmi("sys_vendor", "Xen", "product_name", "HVM domU", "bios_version", "4.2.amazon"), policy: policyOf(),
			level: engine.Warn, means: dropped("an Amazon EC2 machine"), do: noSetting,
		},
		{
			name: "OpenStack", files: dmi("sys_vendor", "OpenStack Foundation", "product_name", "OpenStack Nova"), policy: policyOf(),
			level: engine.Warn, means: dropped("an OpenStack machine"),
			do: "openstack port set --no-security-group --disable-port-security PORT, or for each container --allowed-address " +
				"ip-address=ADDRESS,mac-address=MAC; or use driver ipvlan",
		},
		{
			name: "Xen", files: dmi("sys_vendor", "Xen", "product_name", "HVM domU", "bios_version", "4.17"), policy: policyOf(), level: engine.OK,
			means: "this is a Xen machine: frames of MAC addresses that are not its own pass " + ofXen,
		},
		{
			name: "Xen without firmware", files: map[string]string{"sys/hypervisor/type": "xen\n"}, policy: policyOf(), level: engine.OK,
			means: "this is a Xen machine: frames of MAC addresses that are not its own pass " + ofXen,
		},
		{
			name: "QEMU", files: dmi("sys_vendor", "QEMU", "product_name", "Standard PC (Q35 + ICH9, 2009)"), policy: policyOf(), level: engine.OK,
			means: "this is a QEMU machine: frames of MAC addresses that are not its own pass " + ofQEMU,
		},
		{
			name: "hardware", files: dmi("sys_vendor", "Dell Inc.", "product_name", "PowerEdge R740"), policy: policyOf(), level: engine.OK,
			means: "no virtual machine that is known here: Dell Inc. PowerEdge R740",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []engine.Finding{{Check: "hypervisor", Level: c.level, Means: c.means, Do: c.do}}
			if diff := cmp.Diff(want, hypervisorFindings(below(t, c.files), c.policy)); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the files of another host", func(t *testing.T) {
		if got := hypervisorFindings(below(t, nil), policyOf()); got != nil {
			t.Errorf("found %v where there is nothing to look at", got)
		}
	})
}
