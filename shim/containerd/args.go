package main

import "strings"

// call is how containerd calls a shim: flags, then an action, "start", "delete" or none. These flags come from containerd
// 1.6 to 2.4:
//
//	start     -namespace NS -address SOCKET -publish-binary CONTAINERD -id ID [-debug] start
//	delete    -namespace NS -address SOCKET -publish-binary CONTAINERD -id ID -bundle DIR [-debug] delete
//	itself    -namespace NS -id ID -address SOCKET …, as the shim starts its server from "start"
//	anybody   -v, -info
type call struct {
	action, id, bundle, containerd string
}

// parse reads the flags as Go's flag package, on which shims are built, does.
func parse(args []string) call {
	var c call
	for i := 0; i < len(args); i++ {
		word := args[i]
		if len(word) < 2 || word[0] != '-' || word == "--" {
			if word == "--" {
				i++
			}
			if i < len(args) {
				c.action = args[i]
			}
			return c
		}
		name, value, has := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		var out *string
		switch name {
		case "id":
			out = &c.id
		case "bundle":
			out = &c.bundle
		case "publish-binary":
			out = &c.containerd
		case "namespace", "address", "socket":
			out = new(string)
		default:
			continue // -debug, -v, -info
		}
		if !has && i+1 < len(args) {
			i++
			value = args[i]
		}
		*out = value
	}
	return c
}
