//go:build !unix

package oci

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: there is no owner to keep in the sense of Unix.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// syncDir does nothing: a folder cannot be opened.
func syncDir(string) error { return nil }
