package main

import (
	"sync"
	"time"
)

// stageContext is the context of one stage. It ends at its deadline, or when a process has died that it follows. It looks
// for itself whenever it is asked (Err), and has a timer, and a thread that waits for a death, only from the first call of
// Done on: most stages are over in some milliseconds, and nobody waits for anything but the kernel.
type stageContext struct {
	deadline time.Time
	late     lateError
	done     chan struct{}

	mu sync.Mutex
	// watched is nil as long as no process is followed.
	watched *watch
	waiting bool
	err     error
}

func newStageContext(timeout time.Duration) *stageContext {
	return &stageContext{deadline: time.Now().Add(timeout), late: lateError(timeout), done: make(chan struct{})}
}

// follow lets the context end with the processes of w. It is called once.
func (c *stageContext) follow(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = w
	if c.waiting {
		go c.await(w)
	}
}

// Deadline is when the stage must be over.
func (c *stageContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value is nil: a stage has no values.
func (c *stageContext) Value(any) any { return nil }

// Err is why the stage must end: a context.DeadlineExceeded, or who has died; nil as long as it may go on. So it is the
// cause as well.
func (c *stageContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case !time.Now().Before(c.deadline):
		c.end(c.late)
	case c.watched != nil:
		c.end(c.watched.check())
	}
	return c.err
}

// Done is closed when the stage must end.
func (c *stageContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting {
		c.waiting = true
		time.AfterFunc(time.Until(c.deadline), func() { c.cancel(c.late) })
		if c.watched != nil {
			go c.await(c.watched)
		}
	}
	return c.done
}

// await ends the context with one of the processes. The thread that waits goes with the program.
func (c *stageContext) await(w *watch) { c.cancel(w.poll(-1)) }

func (c *stageContext) cancel(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(err)
}

// end is called with mu held. The first reason stays.
func (c *stageContext) end(err error) {
	if c.err != nil || err == nil {
		return
	}
	c.err = err
	close(c.done)
}
