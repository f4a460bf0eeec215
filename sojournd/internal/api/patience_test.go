package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A request waits for the store for storeTimeout at most, and as long as its
// client waits.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		request, gone := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		p := patience{Context: request}
		time.Sleep(2 * storeTimeout)
		if err := p.Err(); err != nil {
			t.Error("before anybody waits: ", err)
		}
		began := time.Now()
		child, cancel := context.WithCancel(&p)
		defer cancel()
		if end, ok := p.Deadline(); !ok || end.Sub(began) != storeTimeout {
			t.Error("the deadline is ", end.Sub(began))
		}
		<-child.Done()
		if took := time.Since(began); took != storeTimeout || !errors.Is(p.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Error("after ", took, ": ", p.Err(), child.Err())
		}
		if p.Value(key{}) != "value" {
			t.Error("the request's values are lost")
		}

		released, idle := patience{Context: request}, patience{Context: request}
		child, cancel = context.WithCancel(&released)
		defer cancel()
		released.release()
		<-child.Done()
		idle.release()
		if err := idle.Err(); err != nil {
			t.Error("released without a timer: ", err)
		}

		disconnected := patience{Context: request}
		child, cancel = context.WithCancel(&disconnected)
		defer cancel()
		gone()
		<-child.Done()
		<-idle.Done()
		if !errors.Is(child.Err(), context.Canceled) || !errors.Is(disconnected.Err(), context.Canceled) {
			t.Error("the client is gone: ", child.Err(), disconnected.Err())
		}
	})
}
