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

// openConfig opens a regular file to read it.
func openConfig(file string) (*os.File, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, cause(err)
	}
	return f, nil
}
