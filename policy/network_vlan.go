package policy

import (
	"slices"
	"strings"
)

// vlan reads one id, or the outer and the inner one.
func (d *decoder) vlan(v value) []int {
	if v.kind != kindArray {
		if id := v.integer(d, 1, maxVLAN); id != 0 {
			return []int{id}
		}
		return nil
	}
	if n := len(v.items); n == 0 || n > maxTags {
		d.fail(v.at, "write vlan = [OUTER, INNER], or one number", "%s has %d ids, and a frame has one or two tags", v.name, n)
		return nil
	}
	var ids []int
	for _, item := range v.items {
		id := value{item, v.name}.integer(d, 1, maxVLAN)
		if id == 0 {
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}

// vlanRanges reads ids and ranges of them, sorted and with those that touch made one. None may overlap another.
func (d *decoder) vlanRanges(v value) []VLANRange {
	items := []*node{v.node}
	if v.kind == kindArray {
		items = v.items
	}
	switch {
	case len(items) == 0:
		d.fail(v.at, "list at least one VLAN, or leave the key out", "%s is empty", v.name)
	case len(items) > maxEntries:
		d.fail(v.at, "", "%s has %d entries, %d are the most", v.name, len(items), maxEntries)
		return nil
	}
	var out []VLANRange
	for _, item := range items {
		one := value{item, v.name}
		r, ok := d.vlanRange(one)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(out, func(o VLANRange) bool { return o.From <= r.To && r.From <= o.To }); i >= 0 {
			d.fail(one.at, "write each VLAN once", "%s: %s overlaps %s", v.name, r, out[i])
			continue
		}
		out = append(out, r)
	}
	return UniteVLANs(out...)
}

// vlanRange reads one id or one range of a list.
func (d *decoder) vlanRange(v value) (VLANRange, bool) {
	const hint = `write 10, or "20-29"`
	if v.kind == kindInteger {
		id := v.integer(d, 1, maxVLAN)
		return VLANRange{id, id}, id != 0
	}
	if v.kind != kindString {
		d.fail(v.at, hint, "%s must be an integer or a string, not %s", v.name, v.kind)
		return VLANRange{}, false
	}
	from, to, isRange := strings.Cut(v.text, "-")
	if !isRange {
		to = from
	}
	a, okA := vlanID(from)
	b, okB := vlanID(to)
	switch {
	case isRange && from == "" && okB:
		d.fail(v.at, hint, "%s: %s has no first VLAN", v.name, quoted(v.text))
	case isRange && okA && to == "":
		d.fail(v.at, hint, "%s: %s has no last VLAN", v.name, quoted(v.text))
	case !okA || !okB:
		d.fail(v.at, hint, "%s: %s is no VLAN and no range of VLANs, which are 1 to %d", v.name, quoted(v.text), maxVLAN)
	case b < a:
		d.fail(v.at, "write "+quoted(to+"-"+from), "%s: %s ends before it begins", v.name, quoted(v.text))
	default:
		return VLANRange{a, b}, true
	}
	return VLANRange{}, false
}

// deviceSchema is the table form of device.
func deviceSchema() []field[Device] {
	return []field[Device]{
		{
			name: "mac", typ: "string", doc: "the device with this MAC address, the permanent one where it has one",
			set: func(d *decoder, dev *Device, v value) {
				if list := d.macs(v); len(list) > 0 {
					dev.MAC = list[0]
				}
			},
		},
		{
			name: "pci", typ: "string", doc: "the device at this address of the PCI bus, such as `0000:03:00.0`",
			set: func(d *decoder, dev *Device, v value) { dev.PCI = d.pci(v) },
		},
	}
}

func (d *decoder) device(dev *Device, v value) {
	if v.kind == kindString {
		if s, ok := v.str(d); ok && d.ifName(v, s) {
			dev.Name = s
		}
		return
	}
	const hint = `write a name, { mac = "…" } or { pci = "…" }`
	if v.kind != kindTable {
		d.fail(v.at, hint, "%s must be a string or a table, not %s", v.name, v.kind)
		return
	}
	if decode(d, v, deviceSchema(), nil, dev); len(v.entries) != 1 {
		d.fail(v.at, hint, "%s has %d keys, and needs exactly one", v.name, len(v.entries))
	}
}

// pci reads DOMAIN:BUS:DEVICE.FUNCTION in hexadecimal digits, as sysfs writes it (Documentation/PCI/sysfs-pci.rst).
func (d *decoder) pci(v value) string {
	s, ok := v.str(d)
	if !ok {
		return ""
	}
	low := strings.ToLower(s)
	switch {
	case ValidPCI(low):
		return low
	case ValidPCI("0000:" + low):
		d.fail(v.at, "write 0000:"+low, "%s: %s has no domain", v.name, quoted(s))
	default:
		d.fail(v.at, `write it as in "0000:03:00.0"`, "%s: %s is no address of the PCI bus", v.name, quoted(s))
	}
	return ""
}

// ValidPCI says whether s is the address of a PCI function in small letters, with domain, bus, device and function: "0000:03:00.0". A domain has four digits, or more where the firmware has made
// it up (drivers/pci/controller/vmd.c).
func ValidPCI(s string) bool {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '.' })
	if len(parts) != 4 || strings.Join(parts[:3], ":")+"."+parts[3] != s {
		return false
	}
	for _, p := range parts {
		if strings.Trim(p, "0123456789abcdef") != "" {
			return false
		}
	}
	return len(parts[0]) >= 4 && len(parts[0]) <= 8 && len(parts[1]) == 2 && len(parts[2]) == 2 && parts[2] < "20" &&
		len(parts[3]) == 1 && parts[3] < "8"
}

// String is the device as the policy selects it, for messages.
func (d Device) String() string {
	switch {
	case d.Name != "":
		return d.Name
	case d.MAC != nil:
		return "with MAC address " + d.MAC.String()
	case d.PCI != "":
		return "with PCI address " + d.PCI
	}
	return "none"
}
