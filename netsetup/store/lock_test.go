package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// late is a context whose deadline has passed.
func late(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	t.Cleanup(cancel)
	return ctx
}

func TestLockDeadline(t *testing.T) {
	s := newStore(t)
	fill(t, s, 1)
	nothing := func(*Tx) error { return nil }
	tests := []struct {
		name string
		// held is what another one does meanwhile.
		held func(context.Context, func(*Tx) error) error
		run  func(context.Context, func(*Tx) error) error
		ok   bool
	}{
		{"update while another updates", s.Update, s.Update, false},
		{"update while another views", s.View, s.Update, false},
		{"view while another updates", s.Update, s.View, false},
		{"view while another views", s.View, s.View, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.held(t.Context(), func(*Tx) error {
				err := test.run(late(t), nothing)
				if test.ok {
					if err != nil {
						t.Errorf("error %v, want none", err)
					}
					return nil
				}
				got := asError[*FileError](t, err)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(got.Error(), "lock "+s.Dir()) || got.Hint() == "" {
					t.Errorf("error %v with hint %q, want that the deadline passed", got, got.Hint())
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			// Who gave up waiting does not keep the lock.
			if err := test.run(t.Context(), nothing); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLinkLock(t *testing.T) {
	s := newStore(t)
	first, err := s.LockShared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.LockShared(late(t))
	if err != nil {
		t.Fatalf("a second user of shared links has to wait: %v", err)
	}
	second()
	second()
	if _, err = s.LockExclusive(late(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want that the remover waits for users", err)
	}
	// It does not hinder transactions.
	fill(t, s, 1)

	removing := make(chan func())
	go func() {
		release, lockErr := s.LockExclusive(t.Context())
		if lockErr != nil {
			t.Error(lockErr)
		}
		removing <- release
	}()
	first()
	release := <-removing
	if _, err = s.LockShared(late(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want that users wait for the remover", err)
	}
	release()
	third, err := s.LockShared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	third()
}

// Who waits to be alone is let in before those who come after.
func TestLinkLockTurn(t *testing.T) {
	s := newStore(t)
	user, err := s.LockShared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removing := make(chan func())
	go func() {
		release, lockErr := s.LockExclusive(t.Context())
		if lockErr != nil {
			t.Error(lockErr)
		}
		removing <- release
	}()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		later, lockErr := s.LockShared(ctx)
		cancel()
		if errors.Is(lockErr, context.DeadlineExceeded) {
			break
		}
		if lockErr != nil {
			t.Fatal(lockErr)
		}
		later() // the remover has not come yet
	}
	user()
	(<-removing)()
	last, err := s.LockShared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last()
}
