package plan_test

import (
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func TestDevicePCI(t *testing.T) {
	for path, want := range map[string]string{
		"/devices/pci0000:00/0000:00:03.0/virtio0":          "0000:00:03.0",
		"/devices/pci0000:00/0000:00:1c.4/0000:03:00.1":     "0000:03:00.1",
		"/devices/pci10000:e0/10000:e0:01.0/10000:e1:00.0":  "10000:e1:00.0",
		"/devices/platform/soc/30be0000.ethernet":           "",
		"/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0": "0000:00:14.0",
		"/devices/vif-0": "",
		"":               "",
	} {
		if got := (plan.Device{Path: path}).PCI(); got != want {
			t.Errorf("PCI of %q is %q, want %q", path, got, want)
		}
	}
}

func TestDeviceSame(t *testing.T) {
	const path = "/devices/pci0000:00/0000:00:03.0"
	first, second := plan.MAC{0xd0, 0, 0, 0, 0, 1}, plan.MAC{0xd0, 0, 0, 0, 0, 2}
	for name, c := range map[string]struct {
		a, b plan.Device
		want bool
	}{
		"renamed, with another address": {
			plan.Device{Name: "eth5", MAC: first, Permanent: first, Path: path},
			plan.Device{Name: "dev7", MAC: second, Permanent: first, Path: path},
			true,
		},
		"another port of one function": {plan.Device{Permanent: first, Path: path}, plan.Device{Permanent: second, Path: path}, false},
		"without hardware":             {plan.Device{Name: "v", MAC: first}, plan.Device{Name: "v", MAC: first}, false},
		"without /sys":                 {plan.Device{Permanent: first}, plan.Device{Name: "dev7", Permanent: first}, true},
		"elsewhere":                    {plan.Device{Path: path}, plan.Device{Path: path + "/virtio0"}, false},
	} {
		if got := c.a.Same(c.b); got != c.want {
			t.Errorf("%s: same is %t", name, got)
		}
	}
}
