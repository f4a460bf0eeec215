package scs

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn"
)

// What works without a request of LoadAndSave: Iterate, and the methods for
// middleware of the application's own.

// A visit is a session that Iterate shows.
type visit struct {
	sojourn.Snapshot
	values map[string]json.RawMessage
}

func (v *visit) keys() []string {
	keys := slices.AppendSeq([]string{}, maps.Keys(v.values))
	slices.Sort(keys)
	return keys
}

type visitKey struct{}

// visited returns the session that Iterate shows in ctx; nil: it shows none.
func visited(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// Iterate calls fn for each live session, until it returns an error. In its
// context the getters and Destroy work on that session. Unlike scs, Iterate
// works with every store, and reads them a hundred at a time.
func (s *SessionManager) Iterate(ctx context.Context, fn func(context.Context) error) error {
	for cursor, first := "", true; first || cursor != ""; first = false {
		list, next, err := s.Engine().ListSnapshots(ctx, "", cursor, 100)
		if err != nil {
			return err
		}
		for _, snapshot := range list {
			v := &visit{Snapshot: snapshot}
			if err := json.Unmarshal(snapshot.Values, &v.values); err != nil {
				return err
			}
			if err := fn(context.WithValue(ctx, visitKey{}, v)); err != nil {
				return err
			}
		}
		cursor = next
	}
	return nil
}

// Load returns a context with the session that a token names, for callers
// without LoadAndSave. Call Commit afterwards.
func (s *SessionManager) Load(ctx context.Context, token string) (context.Context, error) {
	if se, ok := s.Engine().Lookup(ctx); ok {
		return ctx, se.Load(ctx)
	}
	se := s.Engine().Begin(ctx, sojourn.Request{Token: token})
	return sojourn.NewContext(ctx, se), se.Load(ctx)
}

// Commit writes the session in ctx. It returns the token that the client is to
// present from now on, and when the session ends. The token is empty if it stays
// as it was.
func (s *SessionManager) Commit(ctx context.Context) (string, time.Time, error) {
	se := s.session(ctx)
	if err := se.Commit(ctx); err != nil {
		return "", time.Time{}, err
	}
	return se.Token(), se.Info().ExpiresAt, nil
}

// WriteSessionCookie sets the cookies that the Commit of ctx asks for. It doesn't
// need token and expiry.
func (s *SessionManager) WriteSessionCookie(ctx context.Context, w http.ResponseWriter, token string, expiry time.Time) {
	s.session(ctx).AddCookies(w.Header())
}
