package apply_test

import "github.com/lanhook/lanhook/netsetup/plan"

// applyLink carries out what there is of ipvlan, VLANs, devices and uplinks; done is false for another step.
func (m *model) applyLink(step plan.Step) (done bool, err error) {
	switch step.(type) {
	default:
		return false, nil
	}
}
