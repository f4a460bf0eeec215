package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// TestUnsentIsCertain: a write whose time ends while it waits in line has
// changed nothing, and the error says so.
func TestUnsentIsCertain(t *testing.T) {
	s := open(t, Options{})
	gate := s.gates[0]
	gate.Resize(0)
	defer gate.Resize(mostCalls)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.End(ctx, "shop", store.ID{1}, store.ReasonLogout, store.TimeOf(time.Now()))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUncertain) {
		t.Errorf("the error is %v", err)
	}
}
