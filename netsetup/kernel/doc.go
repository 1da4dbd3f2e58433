// Package kernel is the only one that speaks netlink: [plan.Step] values come in and the kernel is changed, and
// questions come in and [plan.Facts], a [State] or an [Identity] goes out.
//
// There is one NETLINK_ROUTE socket for each namespace, opened once, with extended acknowledgements and strict checking
// of what is asked for, so that a kernel which does not know a filter says so. Code runs inside another namespace only
// where no socket can do the work, which is opening that socket and writing under /proc/sys; see netns.go.
package kernel
