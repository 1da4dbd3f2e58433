package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// play is what the test binary does as another process of a test. A role is a word and a number.
func play(role, dir string) error {
	name, text, _ := strings.Cut(role, " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	switch name {
	case "hang": // within a transaction, until it is killed
		return s.Update(context.Background(), func(tx *Tx) error {
			if err := errors.Join(tx.Put(testRecord(n)), tx.Delete(testRecordRef(0))); err != nil {
				return err
			}
			fmt.Println("within")
			_, err := io.Copy(io.Discard, os.Stdin)
			return errors.Join(err, errors.New("nobody killed this process"))
		})
	case "write": // transactions without end, two records each
		for i := 0; ; i += 2 {
			err := s.Update(context.Background(), func(tx *Tx) error {
				return errors.Join(tx.Put(testRecord(i)), tx.Put(testRecord(i+1)))
			})
			if err != nil {
				return err
			}
			fmt.Println("written", i+2)
		}
	case "take": // ten addresses of the pool
		for i := range 10 {
			addr, err := takeOne(context.Background(), s, 100*n+i)
			if err != nil {
				return err
			}
			fmt.Println(addr)
		}
		return nil
	}
	return fmt.Errorf("unknown role %q", role)
}

func player(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "LANHOOK_STORE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// takeOne puts a record with the lowest address of 10.9.0.0/16 that nobody has.
func takeOne(ctx context.Context, s *Store, n int) (netip.Addr, error) {
	addr := netip.MustParseAddr("10.9.0.0")
	err := s.Update(ctx, func(tx *Tx) error {
		for {
			_, taken, err := tx.Holder("pool", addr)
			if err != nil {
				return err
			}
			if !taken {
				break
			}
			addr = addr.Next()
		}
		r := testRecord(n)
		r.Leases = []Lease{{Scope: "pool", Addr: addr, Record: r.ID, Container: r.Container, IfName: "eth0"}}
		return tx.Put(r)
	})
	return addr, err
}

// expectPool checks that the first n addresses of the pool are leased and were given once each.
func expectPool(t *testing.T, s *Store, n int, given []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, addr := range given {
		if seen[addr] {
			t.Errorf("address %s was given twice", addr)
		}
		seen[addr] = true
	}
	want := netip.MustParseAddr("10.9.0.0")
	view(t, s, func(tx *Tx) error {
		count := 0
		for lease, err := range tx.Leases("pool") {
			if err != nil {
				return err
			}
			if lease.Addr != want || !seen[lease.Addr.String()] {
				t.Errorf("lease of %s, want %s, given %v", lease.Addr, want, seen[lease.Addr.String()])
			}
			want = want.Next()
			count++
		}
		if count != n || len(given) != n {
			t.Errorf("%d leases and %d addresses given, want %d", count, len(given), n)
		}
		return nil
	})
	checkDatabase(t, s)
}

func checkDatabase(t *testing.T, s *Store) {
	t.Helper()
	if err := check(readFile(t, filepath.Join(s.Dir(), databaseName)), os.Getpagesize()); err != nil {
		t.Errorf("check of the database: %v", err)
	}
}

func TestManyGoroutines(t *testing.T) {
	s := newStore(t)
	const n = 200
	given := make([]string, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			addr, err := takeOne(t.Context(), s, i)
			if err != nil {
				t.Error(err)
			}
			given[i] = addr.String()
		})
	}
	wait.Wait()
	expectPool(t, s, n, given)
}

func TestManyProcesses(t *testing.T) {
	s := newStore(t)
	const n = 20
	var outputs [n]strings.Builder
	var players [n]*exec.Cmd
	for i := range players {
		players[i] = player(t, fmt.Sprint("take ", i), s.Dir())
		players[i].Stdout = &outputs[i]
		if err := players[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	var given []string
	for i := range players {
		if err := players[i].Wait(); err != nil {
			t.Error(err)
		}
		given = append(given, strings.Fields(outputs[i].String())...)
	}
	expectPool(t, s, 10*n, given)
}

// killed starts a player, kills it once it has printed the given number of lines, and returns what it printed.
func killed(t *testing.T, role, dir string, lines int) []string {
	t.Helper()
	cmd := player(t, role, dir)
	// Never written to: it keeps the player waiting.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed []string
	scanner := bufio.NewScanner(out)
	for len(printed) < lines && scanner.Scan() {
		printed = append(printed, scanner.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for scanner.Scan() { // what it wrote between the last line and its death
		printed = append(printed, scanner.Text())
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the player ended by itself")
	}
	return printed
}

func TestKilledWithinTransaction(t *testing.T) {
	s := newStore(t)
	want := fill(t, s, 2)
	if got := killed(t, "hang 5", s.Dir(), 1); diff([]string{"within"}, got) != "" {
		t.Fatalf("the player printed %q", got)
	}
	if d := diff(want, mustAll(t, s)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
	update(t, s, func(tx *Tx) error { return tx.Put(testRecord(5)) })
	checkDatabase(t, s)
}

func TestKilledWhileWriting(t *testing.T) {
	for _, lines := range []int{0, 1, 2, 3, 10, 30} {
		t.Run(fmt.Sprintf("after %d", lines), func(t *testing.T) {
			s := newStore(t)
			printed := killed(t, "write 0", s.Dir(), lines)
			committed := 2 * len(printed)
			list := mustAll(t, s)
			// The last transaction may have been committed and not reported.
			if len(list) != committed && len(list) != committed+2 {
				t.Errorf("%d records, want %d or %d", len(list), committed, committed+2)
			}
			seen := map[string]bool{}
			for _, r := range list {
				seen[r.Container] = true
			}
			for i := range len(list) {
				if !seen[testRecord(i).Container] {
					t.Errorf("record %d of %d is missing", i, len(list))
				}
			}
			update(t, s, func(tx *Tx) error { return tx.Put(testRecord(60000)) })
			checkDatabase(t, s)
		})
	}
}

// TestCommitCutOff kills a writer after each page that a commit writes: the meta page is the last, so until it is
// written the file is what it was before.
func TestCommitCutOff(t *testing.T) {
	s := newStore(t)
	before := fill(t, s, 16)
	path := filepath.Join(s.Dir(), databaseName)
	old := readFile(t, path)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Put(testRecord(41)), tx.Delete(before[0].Ref()), tx.Delete(before[10].Ref()))
	})
	after := mustAll(t, s)
	whole := readFile(t, path)
	pageSize := os.Getpagesize()
	file := append([]byte(nil), old...)
	steps := 0
	for at := 2 * pageSize; at < len(whole); at += pageSize {
		written := whole[at : at+pageSize]
		if at < len(old) && string(old[at:at+pageSize]) == string(written) {
			continue
		}
		file = append(file[:min(at, len(file))], append(append([]byte(nil), written...), file[min(at+pageSize, len(file)):]...)...)
		steps++
		replace(t, path, file)
		if d := diff(before, mustAll(t, s)); d != "" {
			t.Fatalf("after page %d (-want +got):\n%s", at/pageSize, d)
		}
	}
	if steps < 4 {
		t.Fatalf("the commit wrote only %d pages", steps)
	}
	copy(file, whole[:2*pageSize])
	replace(t, path, file)
	if d := diff(after, mustAll(t, s)); d != "" {
		t.Fatalf("after the meta page (-want +got):\n%s", d)
	}
}

func TestUnfinishedDatabase(t *testing.T) {
	s := newStore(t)
	// Whoever made it was killed before it had its name.
	if err := os.WriteFile(filepath.Join(s.Dir(), newName), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := mustAll(t, s); len(list) != 0 {
		t.Errorf("%d records, want none", len(list))
	}
	fill(t, s, 1)
	if _, err := os.Stat(filepath.Join(s.Dir(), newName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", newName, err)
	}
}
