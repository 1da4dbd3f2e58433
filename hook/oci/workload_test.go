package oci

import "testing"

func TestWorkload(t *testing.T) {
	cri := map[string]string{criNamespace: "shop", criPod: "web-0"}
	crio := map[string]string{crioNamespace: "shop", crioPod: "web-0", kubeletNamespace: "shop", kubeletPod: "web-0", kubeletContainer: kubeletSandbox}
	nerdctl := map[string]string{nerdctlName: "printer", nerdctlNamespace: "default"}
	posing := map[string]string{criNamespace: "shop", criPod: "web-0", nerdctlName: "printer"}
	labels := map[string]string{kubeletNamespace: "shop", kubeletPod: "web-0", kubeletContainer: kubeletSandbox}
	for _, c := range []struct {
		name        string
		asked       string
		annotations map[string]string
		engine      string
		want        string
		named       bool
	}{
		{"an annotation", "printer", nil, Containerd, "printer", false},
		{"an annotation that says what the engine does", "printer", nerdctl, Containerd, "printer", false},
		{"a pod", "", cri, Containerd, "shop/web-0", true},
		{"CRI-O's pod", "", crio, CRIO, "shop/web-0", true},
		{"nerdctl", "", nerdctl, Containerd, "printer", true},
		{"nothing", "", nil, Containerd, "id", false},
		{"posing under podman", "", nerdctl, Podman, "printer", false},
		{"posing under Docker", "", cri, Docker, "shop/web-0", false},
		{"posing where nothing is known", "", cri, "", "shop/web-0", false},
		{"a pod that poses as nerdctl's", "", posing, Containerd, "printer", false},
		{"one of CRI-O's that poses as containerd's", "", cri, CRIO, "shop/web-0", false},
		{"labels that CRI-O did not write over", "", labels, CRIO, "shop/web-0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, named := Workload(c.asked, c.annotations, "id", c.engine)
			if got != c.want || named != c.named {
				t.Errorf("got %q, named by the engine %t; want %q, %t", got, named, c.want, c.named)
			}
		})
	}
}
