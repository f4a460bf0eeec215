package sojourn_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const day = 24 * time.Hour

func sealKey(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// sealed seals sessions of a world: with keys 1, 2 and so on, of which the first
// argument seals.
func sealed(who sojourn.SealFor, keys ...byte) func(*world, *sojourn.Options) {
	return options(func(o *sojourn.Options) {
		o.Sealed = &sojourn.Sealing{For: who, NotBefore: never}
		for _, k := range keys {
			o.Sealed.Keys = append(o.Sealed.Keys, sealKey(k))
		}
	})
}

func never(context.Context, string) (time.Time, error) { return time.Time{}, nil }

// storeless takes the world's store away.
func storeless(w *world, _ *sojourn.Options) { w.store = nil }

// sealedVisitors and sealedEveryone are the two ways of sealing.
var (
	sealedVisitors = sealed(sojourn.SealVisitors, 1)
	sealedEveryone = func(w *world, o *sojourn.Options) { sealed(sojourn.SealEveryone, 1)(w, o); storeless(w, o) }
)

func setColor(s *sojourn.Session) error { return color.Set(s, "red") }

// A visitor's session lives in the cookie alone, from the first change through
// reads, changes and touches to the logout.
func TestSealedVisitorNeedsNoStore(t *testing.T) {
	w := newWorld(t, watched, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	if !strings.HasPrefix(j.visitor, "E") || j.session != "" {
		t.Fatalf("cookies: %+v", j)
	}
	s := w.begin(j)
	id := s.ID()
	if got, err := color.Get(s); got != "red" || err != nil {
		t.Fatalf("color: %q, %v", got, err)
	}
	w.answer(j, s)
	for i := range 30 {
		w.pass(day)
		w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
		s := w.begin(j)
		if n, err := count.Get(s); n != i+1 || err != nil {
			t.Fatalf("count: %d, %v", n, err)
		}
		w.want("the ID", s.ID(), id)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.want("the cookie", j.visitor, "")
	equal(t, "calls of the store", w.calls.made(), nil)
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
	w.want("creations", len(w.happened(sojourn.EventCreated)), 1)
}

// A login moves the visitor's values into a stored session.
func TestSealedVisitorLogsIn(t *testing.T) {
	w := newWorld(t, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	visitor := w.id(j)
	w.login(j, "ann")
	w.want("the visitor's cookie", j.visitor, "")
	w.want("the token's length", len(j.session), 64)
	s := w.begin(j)
	got, err := color.Get(s)
	if got != "red" || err != nil || s.Subject() != "ann" || s.ID() == visitor {
		t.Errorf("color %q, %v; subject %q, ID %v", got, err, s.Subject(), s.ID())
	}
	if n, _, err := w.Count(ctx); n != 1 || err != nil {
		t.Errorf("stored sessions: %d, %v", n, err)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Regenerate("color") })
	w.want("the session's cookie", j.session, "")
	if got, err := color.Get(w.begin(j)); got != "red" || err != nil {
		t.Errorf("color after Regenerate: %q, %v", got, err)
	}
	if n, _, err := w.Count(ctx); n != 0 || err != nil {
		t.Errorf("stored sessions after Regenerate: %d, %v", n, err)
	}
}

// Without a store, a user logs in, elevates, changes values and logs out.
func TestSealedEveryoneNeedsNoStore(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := new(jar)
	w.visit(j, setColor)
	id := w.id(j)
	w.login(j, "ann", sojourn.AMR("pwd"), sojourn.Remember())
	w.want("the visitor's cookie", j.visitor, "")
	s := w.begin(j)
	w.want("the ID", s.ID(), id)
	w.want("subject", s.Subject(), "ann")
	w.want("fresh", s.Fresh(time.Minute), true)
	if got, _ := color.Get(s); got != "red" {
		t.Errorf("color: %q", got)
	}
	w.pass(10 * time.Minute)
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	info := w.begin(j).Info()
	w.want("level", info.Level, 2)
	equal(t, "AMR", info.AMR, []string{"pwd", "otp"})
	w.want("remembered", info.Remembered, true)
	w.want("created", info.CreatedAt, epoch)
	w.want("authenticated", info.AuthenticatedAt, epoch.Add(10*time.Minute))
	w.want("expires", info.ExpiresAt, epoch.Add(90*day))
	w.login(j, "ben")
	s = w.begin(j)
	if got, _ := color.Get(s); got != "" || s.Subject() != "ben" || s.ID() == id {
		t.Errorf("another user: subject %q, color %q", s.Subject(), got)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.want("the cookie", j.session, "")
	w.want("subject", w.look(j), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout, sojourn.ReasonLogout})
}

var _ = []any{base64.RawURLEncoding, json.Marshal, errors.Is, fmt.Sprint, http.MethodGet, slices.Contains[[]int], sync.Mutex{}, store.ErrEnded, driver.Get, memstore.New}
