package policy

// The keys and words of later versions are known by name, so that a policy written for one is told from a mistake.
// Each text goes before "not in this version".

func laterDrivers() []later {
	return []later{
		{"vxlan", "VXLAN networks are"},
	}
}

func laterIPAM() []later {
	return []later{
		{"dhcp", "addresses by DHCP are"},
		{"etcd", "addresses shared among hosts through etcd are"},
	}
}

func laterNetworkKeys() []later {
	return []later{
		{"remotes", "VXLAN networks are"},
		{"vni", "VXLAN networks are"},
		{"port", "VXLAN networks are"},
		{"group", "VXLAN networks are"},
		{"dhcp", "addresses by DHCP are"},
	}
}
