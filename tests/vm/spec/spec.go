// Package spec is what the host of the test machine tells a guest, and what the two say to each other while it runs. The
// guest's first process and the launcher both import it, so it imports nothing but the standard library.
package spec

import "time"

// File is the name of the file that holds a [Run], as JSON, in the folder of a run. The kernel's command line names the
// folder, by [Parameter]; the guest reads it through the host's files.
const File = "spec.json"

// Parameter is the parameter of the kernel's command line that names the folder of the run.
const Parameter = "vmt.run="

// The names of the virtio ports. What a command writes goes to the first two and nothing else does. The guest says by
// the third how it goes, one of the words below in a line. By the last, which only a guest that stays has, [Request] and
// [Reply] go, one JSON value in a line.
const (
	PortOut     = "vmt.out"
	PortErr     = "vmt.err"
	PortControl = "vmt.ctl"
	PortAgent   = "vmt.agent"
)

// The words of [PortControl]. After WordStart the command may have run, so that the guest must not be booted again.
// WordExit is followed by a space and the exit status, 128 + N for a command that signal N ended.
const (
	WordStart   = "start"
	WordTimeout = "timeout"
	WordExit    = "exit"
)

// Mode is what a guest does once it has booted.
type Mode string

// The modes.
const (
	// Command runs one command without a terminal and ends.
	Command Mode = "command"
	// Shell runs one command with the guest's console as terminal and ends.
	Shell Mode = "shell"
	// Agent answers requests until its host ends it.
	Agent Mode = "agent"
)

// Run is what a guest is started for. Paths are the same at the host and in the guest.
type Run struct {
	Mode Mode
	// Args is the command and its arguments; an agent has none.
	Args []string
	// Env is the whole environment of every command, as NAME=VALUE.
	Env []string
	// Dir is where commands run.
	Dir string
	// Hostname is the guest's name.
	Hostname string
	// Release is the kernel's, and Modules the folder with its modules.
	Release, Modules string
	// Shares are folders that the guest may write to. All others it sees as they are at the host, and what it writes
	// there is its own.
	Shares []string
	// Keep are folders that the guest is to see although they lie below one that is empty in it, such as /tmp.
	Keep []string
	// MACs are the addresses of the network cards, which are named eth0, eth1 and so on in this order.
	MACs []string
	// Modprobe are modules to load before the command.
	Modprobe []string
	// Timeout ends the command with SIGQUIT, and with SIGKILL after [Grace]. Zero is none.
	Timeout time.Duration
	// Rows and Columns are the size of a shell's terminal.
	Rows, Columns uint16
}

// Grace is how long a command may take to end after SIGQUIT, by which Go programs print where they are.
const Grace = 10 * time.Second

// Request asks an agent to run a command, or to send a signal to one that runs.
type Request struct {
	// ID is the caller's, and comes back with the reply. A request with a signal means the command of an earlier one.
	ID int
	// Args is the command. Env is added to that of [Run]; Dir is that of [Run] when empty.
	Args  []string `json:",omitempty"`
	Env   []string `json:",omitempty"`
	Dir   string   `json:",omitempty"`
	Stdin []byte   `json:",omitempty"`
	// Signal is sent to the command's process group. It has no reply of its own.
	Signal int `json:",omitempty"`
}

// Reply is what came of a request. The one with the ID 0 is the first that an agent sends, when it is ready.
type Reply struct {
	ID             int
	Stdout, Stderr []byte `json:",omitempty"`
	// Exit is the exit status, 128 + N for a command that signal N ended.
	Exit int
	// Error says why the command could not be started, else it is empty.
	Error string `json:",omitempty"`
}
