//go:build linux

// Package vm boots guests with Debian's kernels under QEMU, without hardware acceleration and without an image of a disk:
// a guest sees the host's own files, with what it writes on top of them in its memory. It runs one command ([Boot]), or
// stays and runs as many as its host asks for ([Start]). Cables of its network cards end in the host's process
// ([Switch]), and nothing of the host's network is touched.
package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Image says what a kernel's image was made from, in the file [ImageFile] of its folder.
type Image struct {
	// Layout is the way in which it was made.
	Layout int
	// Package is Debian's, Release what uname -r says.
	Package, Release string
	// Init names the first process, by its checksum.
	Init string
}

// ImageFile is the name of the file with an [Image].
const ImageFile = "image.json"

// ReadImage reads what the image in a folder was made from.
func ReadImage(dir string) (Image, error) {
	var image Image
	text, err := os.ReadFile(filepath.Join(dir, ImageFile))
	if err != nil {
		return image, fmt.Errorf("read an image (make vm makes it): %w", err)
	}
	if err := json.Unmarshal(text, &image); err != nil {
		return image, fmt.Errorf("read %s: %w", filepath.Join(dir, ImageFile), err)
	}
	return image, nil
}
