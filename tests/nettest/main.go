//go:build linux

package nettest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Main runs a package's tests and returns the exit code for TestMain. It fails them when they leave a descriptor open
// or a thread in another network namespace.
func Main(m *testing.M) int {
	before := descriptors()
	code := m.Run()
	if code != 0 {
		return code
	}
	var left []string
	// A thread that has done its work in a namespace is gone a moment later.
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left = Strays()
		for fd, what := range descriptors() {
			if before[fd] != what {
				left = append(left, "descriptor "+fd+" "+what)
			}
		}
		if len(left) == 0 {
			return code
		}
	}
	fmt.Fprintf(os.Stderr, "the tests left behind: %s\n", strings.Join(left, ", "))
	return 1
}

// Strays are the threads of this process that are in another network namespace than its main thread, as text.
func Strays() []string {
	home, _ := os.Readlink("/proc/self/ns/net")
	tasks, _ := os.ReadDir("/proc/self/task")
	var list []string
	for _, t := range tasks {
		// A thread that ends meanwhile has none.
		ns, err := os.Readlink("/proc/self/task/" + t.Name() + "/ns/net")
		if err == nil && ns != home {
			list = append(list, "thread "+t.Name()+" in "+ns)
		}
	}
	return list
}

// descriptors are the open ones and what they are, without those that the Go runtime opens when it wants to.
func descriptors() map[string]string {
	list := map[string]string{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		what, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(what, "anon_inode:[event") {
			continue
		}
		list[e.Name()] = what
	}
	return list
}
