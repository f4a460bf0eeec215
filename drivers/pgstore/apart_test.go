package pgstore

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// The stores of two schemas in one database see nothing of each other. The URL
// may name the schema, and lead to a Unix socket.
func TestSchemasAreApart(t *testing.T) {
	p := shared(t)
	first, second := schemaOf(t, p.URL()), schemaOf(t, p.URL())
	socket := fmt.Sprintf("postgres:///sojourn?host=%s&port=%d&user=sojourn&password=%s&schema=", url.QueryEscape(p.Dir()), p.Port(), passwordOf(t, p.URL()))
	a, b := mustOpen(t, p.URL()+"&schema="+first, Options{}), mustOpen(t, socket+second, Options{FeedURL: socket + second})
	changes, err := a.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, now := t.Context(), store.TimeOf(time.Now())
	ann := createOne(t, a)
	twin := *ann
	if _, err := b.Create(ctx, "shop", &twin, store.CreateOptions{Arrived: now, Now: now}); err != nil { // with the same ID
		t.Fatal(err)
	}
	if _, err := b.Watch(ctx); err != nil {
		t.Fatal(err)
	}
	_, err1 := b.End(ctx, "shop", twin.ID, store.ReasonLogout, now)
	_, err2 := b.EndSubject(ctx, "shop", ann.Subject, store.ID{}, store.ReasonRevoked, now)
	err3 := b.EndAll(ctx, "shop", now.Add(time.Hour))
	_, _, err4 := b.Sweep(ctx, "shop", now.Add(1000*time.Hour), 1000)
	if err := errors.Join(err1, err2, err3, err4, a.Beat(ctx, 7)); err != nil {
		t.Fatal(err)
	}
	for change := range changes {
		if change.Kind == store.Beat {
			break
		}
		if change.Kind != store.Gap && (change.Kind != store.Changed || change.ID != ann.ID) {
			t.Errorf("%s hears of %s: %+v", first, second, change)
		}
	}
	if err := a.Get(ctx, "shop", ann.ID, true, new(store.Record)); err != nil {
		t.Error(err)
	}
	if err := b.Get(ctx, "shop", ann.ID, true, new(store.Record)); err == nil {
		t.Errorf("%s has the session of %s", second, first)
	}
}

func passwordOf(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return url.QueryEscape(password)
}
