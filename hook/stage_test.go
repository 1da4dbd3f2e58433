package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Nobody waits for Done: who asks gets to know all the same, and for good.
func TestStageContextLooks(t *testing.T) {
	runtime, end := child(t)
	ctx := newStageContext(time.Hour)
	ctx.follow(newWatch(t, map[string]int{"the runtime": runtime}))
	if err := ctx.Err(); err != nil {
		t.Fatalf("it lives: %v", err)
	}
	end()
	want := fmt.Sprintf("the runtime, process %d, has died", runtime)
	for deadline := time.Now().Add(patience); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the runtime has died, and the context goes on")
		}
	}
	select {
	case <-ctx.Done():
	default:
		t.Error("it has ended, and Done is not closed")
	}
	if err := context.Cause(ctx); err.Error() != want {
		t.Errorf("cause %v, want %s", err, want)
	}
}

func TestStageContextLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, waited := newStageContext(time.Second), newStageContext(time.Second)
		below, cancel := context.WithTimeout(waited, time.Minute)
		defer cancel()
		if deadline, ok := below.Deadline(); !ok || time.Until(deadline) != time.Second {
			t.Errorf("what is made of it ends at %v (%v), want its own deadline", deadline, ok)
		}
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		for _, ctx := range []context.Context{asked, waited, below} {
			if err := ctx.Err(); err != nil {
				t.Errorf("before its deadline: %v", err)
			}
		}
		time.Sleep(time.Nanosecond)
		<-below.Done()
		for name, ctx := range map[string]context.Context{"asked": asked, "waited for": waited, "below": below} {
			err := context.Cause(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "it took longer than 1s" {
				t.Errorf("%s: %v, want that it took longer than 1s", name, err)
			}
		}
	})
}

// Who waits already, is told of a process that is followed later.
func TestStageContextFollowsLate(t *testing.T) {
	container, end := child(t)
	ctx := newStageContext(time.Hour)
	done := ctx.Done()
	ctx.follow(newWatch(t, map[string]int{"the container": container}))
	end()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the container has died, and the context goes on")
	}
}
