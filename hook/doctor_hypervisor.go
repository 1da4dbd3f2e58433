package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/policy"
)

const (
	checkHypervisor = "hypervisor"

	// dmiDir is what the firmware says of the machine (SMBIOS), and xenFile what a Xen guest without firmware has.
	dmiDir  = "/sys/class/dmi/id/"
	xenFile = "/sys/hypervisor/type"
)

// machine is a kind of virtual machine, by what its firmware says of itself.
type machine struct {
	// name is with its article.
	name string
	// file and has: this file of dmiDir has a text that begins so. Both of the second pair too, where there is one.
	file, has   string
	file2, has2 string
	// filters says that frames of MAC addresses which are not the machine's own are dropped unless somebody allows them.
	filters bool
	// setting is where that is allowed: what to do where it filters, and what to look at where it does not by itself.
	setting string
}

// The settings that several kinds share.
const (
	noSetting = "its network cannot be told to let them pass: use driver ipvlan with addresses that the provider has assigned to this " +
		"machine's card, or a bridge network with published ports"
	ofQEMU = "by a bridge of the host, and by macvtap with trustGuestRxFilters='yes' in libvirt's <interface>, without a filterref such as " +
		"clean-traffic; in Proxmox VE with MAC filter = No in the machine's firewall options"
	ofXen = "by a bridge of the host, unless the VIF is locked: xe vif-param-set uuid=VIF locking-mode=unlocked"
)

// machines are the kinds that are known, those first that say more. Providers come before what their machines are made by.
func machines() []machine {
	return []machine{
		{name: "an Azure machine", file: "chassis_asset_tag", has: "7783-7084-3265-9085-8269-3286-77", filters: true, setting: noSetting},
		{name: "an Oracle Cloud machine", file: "chassis_asset_tag", has: "OracleCloud.com", filters: true, setting: noSetting},
		{name: "an Amazon EC2 machine", file: "sys_vendor", has: "Amazon EC2", filters: true, setting: noSetting},
		{name: "an Amazon EC2 machine", file: "sys_vendor", has: "Xen", file2: "bios_version", has2: "4.2.amazon", filters: true, setting: noSetting},
		{name: "a Google Cloud machine", file: "product_name", has: "Google Compute Engine", filters: true, setting: noSetting},
		{name: "an Alibaba Cloud machine", file: "sys_vendor", has: "Alibaba Cloud", filters: true, setting: noSetting},
		{name: "a DigitalOcean machine", file: "sys_vendor", has: "DigitalOcean", filters: true, setting: noSetting},
		{name: "a Hetzner machine", file: "sys_vendor", has: "Hetzner", file2: "product_name", has2: "vServer", filters: true, setting: noSetting},
		{
			name: "an OpenStack machine", file: "product_name", has: "OpenStack", filters: true,
			setting: "openstack port set --no-security-group --disable-port-security PORT, or for each container --allowed-address " +
				"ip-address=ADDRESS,mac-address=MAC",
		},
		{
			name: "an oVirt machine", file: "product_name", has: "oVirt", filters: true,
			setting: "in the vNIC profile: Network Filter = No Network Filter (it is vdsm-no-mac-spoofing by itself)",
		},
		{
			name: "a VMware machine", file: "sys_vendor", has: "VMware", filters: true,
			setting: "in the port group's security settings: Promiscuous mode = Accept (or MAC learning, on a distributed switch), " +
				"Forged transmits = Accept and MAC address changes = Accept",
		},
		{
			name: "a Hyper-V machine", file: "sys_vendor", has: "Microsoft Corporation", file2: "product_name", has2: "Virtual Machine", filters: true,
			setting: "on the host: Set-VMNetworkAdapter -VMName NAME -MacAddressSpoofing On",
		},
		{
			name: "a VirtualBox machine", file: "product_name", has: "VirtualBox", filters: true,
			setting: "on the host, with the machine off: VBoxManage modifyvm NAME --nic-promisc1 allow-all (1 is the adapter's number)",
		},
		{name: "a Xen machine", file: "sys_vendor", has: "Xen", setting: ofXen},
		{name: "a QEMU machine", file: "sys_vendor", has: "QEMU", setting: ofQEMU},
		{name: "a QEMU machine", file: "sys_vendor", has: "Red Hat", file2: "product_name", has2: "KVM", setting: ofQEMU},
	}
}

// ownMACs says whether the containers of a network send from other MAC addresses than the link's that they hang on.
func ownMACs(n *policy.Network) bool {
	switch n.Driver {
	case policy.Macvlan:
		return n.Mode != policy.ModePassthru
	case policy.VLAN:
		return n.MAC != policy.MACKeep
	case policy.Bridge:
		return n.HasUplink()
	case policy.IPVLAN, policy.HostDevice:
	}
	return false
}

// hypervisorFindings say whether what is around a virtual machine lets the frames of containers pass: nothing in the machine
// shows that it does not. Of another host's files there is nothing to say as a rule, and then nothing is said.
func hypervisorFindings(files engine.Files, p *policy.Policy) []engine.Finding {
	dmi := func(name string) string {
		text, err := files.Read(dmiDir + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	f := engine.Finding{Check: checkHypervisor, Level: engine.OK}
	vendor := dmi("sys_vendor")
	m, virtual := machineOf(dmi)
	if !virtual {
		text, err := files.Read(xenFile)
		if virtual = err == nil && strings.TrimSpace(string(text)) == "xen"; virtual {
			m = machine{name: "a Xen machine", setting: ofXen}
		}
	}
	if !virtual && vendor == "" && files.Root != "" {
		return nil
	}
	own := networks(p, ownMACs)
	switch {
	case !virtual && vendor == "":
		f.Means = "the firmware does not say what machine this is: on a virtual one, what is around it may drop frames of MAC addresses that it does not know"
	case !virtual:
		f.Means = fmt.Sprintf("no virtual machine that is known here: %s", strings.TrimSpace(vendor+" "+dmi("product_name")))
	case !m.filters:
		f.Means = fmt.Sprintf("this is %s: frames of MAC addresses that are not its own pass %s", m.name, m.setting)
	case p != nil && len(own) == 0:
		f.Means = fmt.Sprintf("this is %s, and no network of the policy sends from MAC addresses that are not the machine's", m.name)
	default:
		f.Level = engine.Warn
		f.Means = fmt.Sprintf("this is %s: unless that was allowed, frames of MAC addresses that are not its own are dropped outside of it, "+
			"and containers on %s reach nobody", m.name, cmp.Or(namesOf(own), "networks with MAC addresses of their own"))
		f.Do = m.setting
		if m.setting != noSetting {
			f.Do += "; or use driver ipvlan"
		}
	}
	return []engine.Finding{f}
}

// namesOf is "the network a", or "the networks a, b"; "" for none.
func namesOf(networks []string) string {
	if len(networks) == 0 {
		return ""
	}
	return plural(networks, "the network")
}

// machineOf finds the kind by what its firmware says; false for none that is known.
func machineOf(dmi func(name string) string) (machine, bool) {
	for _, m := range machines() {
		if strings.HasPrefix(dmi(m.file), m.has) && (m.file2 == "" || strings.HasPrefix(dmi(m.file2), m.has2)) {
			return m, true
		}
	}
	return machine{}, false
}
