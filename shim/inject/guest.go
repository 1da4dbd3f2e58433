package inject

import (
	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/policy/request"
)

// guest adds to an edit what only a spec edit can give a container: another network namespace, a host name, files such
// as resolv.conf and hosts, and the hook's arguments that tell it of them.
//
// None of that is in this version. A container that asks for it is refused by the hook, which says so.
func (c Container) guest(request.Request, Options, *oci.Edits) error { return nil }
