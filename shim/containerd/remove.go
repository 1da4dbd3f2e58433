package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/shim/config"
	"github.com/lanhook/lanhook/shim/inject"
)

// remove is "delete": containerd's own shim first, then a last detach, for a container whose runtime was killed before it
// ran poststop. Whether that works does not change the exit code, which is the shim's: containerd would delete again.
func (s *shim) remove(shim string, env []string) (int, error) {
	code, err := child(shim, append([]string{shim}, s.args...), &os.ProcAttr{
		Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if detachErr := s.detach(); detachErr != nil {
		s.say(fmt.Errorf("the last detach: %w", detachErr))
	}
	return code, err
}

// child runs a program to its end and gives its exit code, or 128 and the number of the signal that ended it, as shells
// do.
func child(path string, args []string, attr *os.ProcAttr) (int, error) {
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return 1, fmt.Errorf("run %s: %w", path, err)
	}
	state, err := p.Wait()
	if err != nil {
		return 1, fmt.Errorf("wait for %s: %w", path, err)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// detach calls the hook as the runtime does at poststop. A container that asked for nothing has nothing to give back; of
// one whose bundle cannot be read that is not known.
func (s *shim) detach() error {
	bundle := s.bundle
	if bundle == "" {
		var err error
		if bundle, err = os.Getwd(); err != nil {
			return fmt.Errorf("find the bundle: %w", err)
		}
	}
	if s.id == "" {
		return errors.New("containerd told no -id")
	}
	if box, err := inject.Read(bundle, nil); err == nil && !box.Asks() {
		return nil
	}
	lanhook, err := config.FindLanhook(s.cfg.Lanhook, s.this)
	if err != nil {
		return err
	}
	state, err := json.Marshal(map[string]string{
		"ociVersion": "1.0.2", "id": s.id, "status": "stopped", "bundle": bundle,
	})
	if err != nil {
		return err
	}
	return s.hook(lanhook, state)
}

// hook runs the hook with a container state on its stdin.
func (s *shim) hook(lanhook string, state []byte) error {
	args := []string{"lanhook", "hook", "poststop", "--by", oci.ByRuntime}
	if s.cfg.StateDir != "" {
		args = append(args, "--state-dir", s.cfg.StateDir)
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return errors.Join(err, in.Close(), out.Close())
	}
	// An id and a path are far less than a pipe holds, so this does not wait for a reader.
	_, err = out.Write(state)
	if err = errors.Join(err, out.Close()); err == nil {
		var code int
		// stdout is for containerd, to which the shim has answered already.
		code, err = child(lanhook, args, &os.ProcAttr{
			Dir: "/", Env: oci.DefaultEnv(), Files: []*os.File{in, null, os.Stderr},
		})
		if err == nil && code != 0 {
			err = fmt.Errorf("%s ended with exit code %d", lanhook, code)
		}
	}
	return errors.Join(err, in.Close(), null.Close())
}
