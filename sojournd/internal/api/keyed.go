package api

import (
	"context"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// The limits of a key, in bytes. A short key could be found by trial from the
// session's ID, which is no secret.
const (
	minKey = 16
	maxKey = 1024
)

const maxIdle = 400 * 24 * 60 * 60 // seconds

// keyed returns the session of a key, read from the store.
func (c *call) keyed(ctx context.Context, in *v1.Keyed, idle int, passive bool) (*sojourn.Session, error) {
	key, err := text("/key", in.Key)
	if err != nil {
		return nil, err
	}
	if len(key) < minKey || len(key) > maxKey {
		return nil, invalid("/key", fmt.Sprintf("must have %d to %d bytes", minKey, maxKey))
	}
	if idle < 0 || idle > maxIdle {
		return nil, invalid("/idle", fmt.Sprintf("must be 0 to %d", maxIdle))
	}
	client, err := clientOf(in.Client)
	if err != nil {
		return nil, err
	}
	s := c.key.app.Sessions.Begin(ctx, sojourn.Request{Key: key, Idle: time.Duration(idle) * time.Second, Client: client, Arrived: c.arrived})
	if passive {
		s.Passive()
	}
	if err := s.Load(ctx); err != nil {
		s.Finish()
		return nil, err
	}
	return s, nil
}

func keyedGet(ctx context.Context, c *call, in *v1.KeyedGet) (*v1.KeyedFound, error) {
	s, err := c.keyed(ctx, &in.Keyed, 0, true)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	snap := s.Snapshot()
	if snap.ID.IsZero() {
		return &v1.KeyedFound{Why: string(s.EndReason())}, nil
	}
	return &v1.KeyedFound{Session: sessionOf(&snap)}, nil
}

func keyedSet(ctx context.Context, c *call, in *v1.KeyedSet) (*v1.KeyedSession, error) {
	if err := checkChanges(&in.Changes); err != nil {
		return nil, err
	}
	if in.Subject != nil && *in.Subject == "" {
		return nil, invalid("/subject", "is empty")
	}
	s, err := c.keyed(ctx, &in.Keyed, in.Idle, false)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if in.Update && s.ID().IsZero() {
		return nil, sojourn.ErrEnded
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	if in.Subject != nil && *in.Subject != s.Subject() {
		if err := s.Login(*in.Subject); err != nil {
			return nil, err
		}
	}
	if err := apply(ctx, s, &in.Changes); err != nil {
		return nil, err
	}
	return committed(ctx, s)
}

func keyedTouch(ctx context.Context, c *call, in *v1.KeyedTouch) (*v1.KeyedSession, error) {
	s, err := c.keyed(ctx, &in.Keyed, in.Idle, false)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if s.ID().IsZero() {
		return nil, problemOf(codeNoSession)
	}
	if err := s.Start(); err != nil { // for the idle limit
		return nil, err
	}
	return committed(ctx, s)
}

func committed(ctx context.Context, s *sojourn.Session) (*v1.KeyedSession, error) {
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	snap := s.Snapshot()
	return &v1.KeyedSession{Session: sessionOf(&snap)}, nil
}

func keyedEnd(ctx context.Context, c *call, in *v1.Keyed) (*none, error) {
	s, err := c.keyed(ctx, in, 0, false)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Logout(); err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	return c.noContent()
}
