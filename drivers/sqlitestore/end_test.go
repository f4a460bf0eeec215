package sqlitestore

import (
	"context"
	"errors"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// EndSubject ends and reports all sessions of the subject, even if its context
// is cancelled meanwhile.
func TestEndSubjectGoesOn(t *testing.T) {
	s := open(t)
	defer s.Close()
	const sessions = 3 * chunk
	many(t, s, sessions, "ada")
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-changes // the first chunk is over
		cancel()
	}()
	ended, err := s.EndSubject(ctx, "shop", "ada", store.ID{}, store.ReasonRevoked, present+5)
	if err != nil || len(ended) != sessions {
		t.Errorf("ended %d of %d, %v", len(ended), sessions, err)
	}
	<-gone
}

// A login after the barrier stays, although EndSubject is still ending
// sessions.
func TestEndSubjectSparesLaterLogins(t *testing.T) {
	s := open(t)
	defer s.Close()
	const sessions = 3 * chunk
	many(t, s, sessions, "ada")
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := session(9999, "ada", present+100)
	created := make(chan struct{})
	go func() {
		defer close(created)
		<-changes // the first chunk is over
		var newest store.ID
		err := s.read(t.Context(), func(c *conn) error {
			v, err := c.first("SELECT id FROM sessions WHERE subject = 'ada' ORDER BY joined DESC LIMIT 1")
			if err == nil && v != nil {
				fill(newest[:], v[0])
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := s.End(t.Context(), "shop", newest, store.ReasonLogout, present+10); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		create(t, s, later)
	}()
	if _, err := s.EndSubject(t.Context(), "shop", "ada", store.ID{}, store.ReasonRevoked, present+5); err != nil {
		t.Error(err)
	}
	<-created
	if err := stateOf(s, later); err != nil {
		t.Errorf("the later login: %v", err)
	}
}

// A page of a subject's sessions doesn't cost more when earlier ones have
// ended.
func TestListPassesOverWhatHasEnded(t *testing.T) {
	s := open(t)
	defer s.Close()
	const sessions = 10 * chunk
	many(t, s, sessions, "ada")
	if err := s.EndAll(t.Context(), "shop", present); err != nil {
		t.Fatal(err)
	}
	later := session(sessions+1, "ada", present+1)
	create(t, s, later)
	list, cursor, err := s.List(t.Context(), "shop", store.ListOptions{Subject: "ada", Limit: 10, Now: present + 2})
	if err != nil || cursor != "" || len(list) != 1 || list[0].ID != later.ID {
		t.Errorf("%d sessions, cursor %q, %v", len(list), cursor, err)
	}
}
