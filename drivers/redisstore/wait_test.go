package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// An end that is requested again, because the first had not reached a replica
// in time, waits for that replica too.
func TestI4RepeatedEndWaits(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes its time")
	}
	c := servertest.Cluster(t, servertest.RedisOptions{})
	s := openAt(t, c.URL(), Options{WaitReplicas: 1, WaitTimeout: 100 * time.Millisecond})
	a, b := create(t, s, session("ada")), create(t, s, session("ada"))
	var replicas []*servertest.RedisServer
	for _, m := range c.Masters() {
		r, err := c.Replica(m)
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, r)
	}
	each := func(f func(*servertest.RedisServer) error) {
		t.Helper()
		for _, r := range replicas {
			if err := f(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	ends := map[string]func() error{
		"End": func() error {
			_, err := s.End(t.Context(), app, a.ID, store.ReasonLogout, t0)
			return err
		},
		"EndSubject": func() error {
			_, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonLogout, t0)
			return err
		},
		"EndAll": func() error { return s.EndAll(t.Context(), app, t0) },
	}
	each((*servertest.RedisServer).Pause)
	for name, end := range ends {
		for i := range 3 {
			if err := end(); !errors.Is(err, store.ErrUncertain) {
				t.Errorf("%s, time %d, with replicas that lag behind: %v", name, i+1, err)
			}
		}
	}
	if err := s.Get(t.Context(), app, b.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
		t.Errorf("Get: %v", err)
	}
	each((*servertest.RedisServer).Continue)
	if err := c.WaitHealthy(); err != nil {
		t.Fatal(err)
	}
	for name, end := range ends {
		if err := end(); err != nil {
			t.Errorf("%s with replicas that keep up: %v", name, err)
		}
	}
}

// An end that waits for replicas doesn't wait without end for a Redis that is
// silent.
func TestWaitReplicasInSilence(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared(t, single).Addr())
	s := openAt(t, "redis://"+p.addr+"?timeout=2s", Options{WaitReplicas: 1, WaitTimeout: 50 * time.Millisecond})
	a, b := create(t, s, session("ada")), create(t, s, session("bob"))
	if _, err := s.End(t.Context(), app, a.ID, store.ReasonLogout, t0); !errors.Is(err, errReplicas) { // it makes the connection
		t.Fatalf("with no replica: %v", err)
	}
	defer p.swallow(false)()
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	if _, err := s.End(ctx, app, b.ID, store.ReasonLogout, t0); !errors.Is(err, store.ErrUncertain) || ctx.Err() != nil {
		t.Errorf("in silence: %v", err)
	}
}
