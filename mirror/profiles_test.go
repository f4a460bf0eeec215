package mirror_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
)

// The first page after a sign-in has the user's values, and what a form has changed
// reaches the other devices, without a script.
func TestRefresh(t *testing.T) {
	w := newWorld(t)
	a, b := w.browser(), w.browser()
	signIn := func(s *sojourn.Session) error {
		return errors.Join(s.Login("ann"), w.mirror.Refresh(t.Context(), s))
	}
	a.Change(func(s *sojourn.Session) error { return theme.Set(s, "dark") }) // as a visitor
	a.Change(signIn)
	w.Advance(time.Minute)
	b.Change(func(s *sojourn.Session) error { return errors.Join(theme.Set(s, "light"), nickname.Set(s, "Ann")) })
	b.Change(signIn)
	got, _ := theme.Get(b.Session())
	w.equal("after the sign-in", got, "dark") // the server's wins
	w.Advance(time.Minute)
	b.Change(func(s *sojourn.Session) error {
		return errors.Join(theme.Set(s, "light"), w.mirror.Refresh(t.Context(), s))
	})
	w.equal("the other device", a.send(``), values{"theme": "light", "nickname": "Ann"})

	visitor := w.browser()
	visitor.Change(func(s *sojourn.Session) error { return w.mirror.Refresh(t.Context(), s) })
	w.equal("a visitor's session", visitor.Session().ID().IsZero(), true)
}

// A table is an application's place for users' values.
type table struct {
	mu     sync.Mutex
	users  map[string]string // JSON
	broken error
}

func (p *table) UpdateProfile(_ context.Context, subject string, fn func(map[string]mirror.Entry) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	entries := map[string]mirror.Entry{}
	if text, ok := p.users[subject]; ok {
		if err := json.Unmarshal([]byte(text), &entries); err != nil {
			return err
		}
	}
	again := maps.Clone(entries)
	if err := errors.Join(fn(again), fn(entries)); err != nil { // it may run again
		return err
	}
	b, err := json.Marshal(entries)
	p.users[subject] = string(b)
	return err
}

func TestKeepIn(t *testing.T) {
	w := newWorld(t)
	p := &table{users: map[string]string{}}
	w.mirror.KeepIn(p)
	a, b := w.browser(), w.browser()
	a.SignIn("ann")
	b.SignIn("ann")
	a.send(`"theme":{"value":"dark"}`)
	w.equal("in the table", p.users["ann"], fmt.Sprintf(`{"theme":{"value":"dark","time":%d}}`, w.Now().UnixMilli()))
	w.equal("the other device", b.send(``), values{"theme": "dark"})
	err := w.UpdateProfile(t.Context(), "ann", func(v map[string]json.RawMessage) error {
		w.equal("values in the engine's profile", len(v), 0)
		return nil
	})
	w.equal("the error", err, nil)

	p.broken = errors.New("broken")
	if got := a.post(`{"user":"` + a.user + `","values":{"theme":{"value":"light","age":0}}}`); got.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	p.broken = nil
	w.equal("afterwards", a.send(``), values{"theme": "dark"})
}
