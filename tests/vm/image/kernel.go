//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// unpackKernel takes the ELF file out of a kernel as boot loaders take it. QEMU starts it by its PVH note, and the guest
// has nothing to unpack.
func unpackKernel(ctx context.Context, packed, into string) error {
	image, err := os.ReadFile(packed)
	if err != nil {
		return err
	}
	payload, err := payloadOf(image)
	if err != nil {
		return fmt.Errorf("%s: %w", packed, err)
	}
	args, err := unpacker(payload)
	if err != nil {
		return fmt.Errorf("%s: %w", packed, err)
	}
	out, err := os.Create(into)
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(payload), out, &complaint
	if err := errors.Join(command.Run(), out.Close()); err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(complaint.Bytes()))
	}
	magic := make([]byte, 4)
	file, err := os.Open(into)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Read(magic); err != nil || string(magic) != "\x7fELF" {
		return fmt.Errorf("%s: what is packed in it is no ELF file", packed)
	}
	return nil
}

// payloadOf is the packed part of a bzImage, by the fields of its header (Documentation/arch/x86/boot.rst of Linux).
func payloadOf(image []byte) ([]byte, error) {
	const setupSectors, offsetAt, lengthAt, sector = 0x1f1, 0x248, 0x24c, 512
	if len(image) < lengthAt+4 {
		return nil, errors.New("too short for a kernel")
	}
	sectors := int(image[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	offset := (sectors+1)*sector + int(binary.LittleEndian.Uint32(image[offsetAt:]))
	length := int(binary.LittleEndian.Uint32(image[lengthAt:]))
	// The last four bytes are the size of what is packed.
	if length < 4 || offset < 0 || offset+length > len(image) {
		return nil, errors.New("its header does not fit its length")
	}
	return image[offset : offset+length-4], nil
}

func unpacker(payload []byte) ([]string, error) {
	for magic, args := range map[string][]string{
		"\x28\xb5\x2f\xfd":     {"zstd", "-dcq"},
		"\xfd\x37\x7a\x58\x5a": {"xz", "-dcq", "--single-stream"},
	} {
		if bytes.HasPrefix(payload, []byte(magic)) {
			return args, nil
		}
	}
	return nil, fmt.Errorf("packed neither by zstd nor by xz: %x", payload[:min(4, len(payload))])
}
