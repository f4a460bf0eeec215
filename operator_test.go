package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

func TestEndSubjectExcept(t *testing.T) {
	w := newWorld(t)
	here, there, bob := w.loggedIn("ann"), w.loggedIn("ann"), w.loggedIn("bob")
	n, err := w.EndSubject(ctx, "ann", w.id(here))
	if n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	w.want("here", w.look(here), "ann")
	w.want("there", w.look(there), "")
	w.want("bob", w.look(bob), "bob")
	if err := w.EndOwn(ctx, "ann", w.id(bob)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("ann ends bob's: %v", err)
	}
	if err := w.EndOwn(ctx, "bob", w.id(bob)); err != nil {
		t.Error(err)
	}
	w.want("bob", w.look(bob), "")
	if err := w.End(ctx, w.id(bob)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("End of an ended session: %v", err)
	}
}

func TestEndAll(t *testing.T) {
	w := newWorld(t)
	visitor := new(jar)
	w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
	j := w.loggedIn("ann")
	if err := w.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("ann", w.look(j), "")
	w.want("the visitor", w.begin(visitor).ID(), sojourn.ID{})
	w.want("reason", w.begin(j).EndReason(), sojourn.ReasonRevoked)
	sessions, loggedIn, err := w.Count(ctx)
	if sessions != 0 || loggedIn != 0 || err != nil {
		t.Error(sessions, loggedIn, err)
	}
	w.pass(time.Second)
	w.want("a new login", w.look(w.loggedIn("ann")), "ann")
	w.want("event", len(w.happened(sojourn.EventEndedAll)), 1)
}

// Barrier says since when a login that is under way fails, for as long as one can
// be under way.
func TestBarrier(t *testing.T) {
	w := newWorld(t)
	want := func(what, subject string, at time.Time) {
		t.Helper()
		got, err := w.Barrier(ctx, subject)
		if err != nil || !got.Equal(at.Truncate(time.Millisecond)) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, at)
		}
	}
	w.loggedIn("ann")
	want("before", "ann", time.Time{})
	w.pass(time.Minute)
	ended := w.time()
	if _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	want("ann", "ann", ended)
	want("bob", "bob", time.Time{})
	w.pass(time.Hour - time.Minute)
	want("an hour later", "ann", ended)
	w.pass(time.Millisecond)
	want("later", "ann", time.Time{})
	all := w.time()
	if err := w.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	want("after EndAll", "bob", all)
	if _, err := w.Barrier(ctx, ""); !errors.Is(err, sojourn.ErrSubject) {
		t.Errorf("without a user: %v", err)
	}
}

func TestListInPages(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.loggedIn("ann")
		w.loggedIn("bob")
		w.pass(time.Millisecond)
	}
	for subject, want := range map[string]int{"ann": 7, "": 14, "carl": 0} {
		seen := map[sojourn.ID]bool{}
		cursor, pages := "", 0
		for {
			page, next, err := w.List(ctx, subject, cursor, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page {
				seen[i.ID] = true
				if subject != "" {
					w.want("subject", i.Subject, subject)
				}
				w.want("client", i.Created, home)
			}
			if pages++; next == "" || pages > 100 {
				break
			}
			cursor = next
		}
		w.want("sessions of "+subject, len(seen), want)
	}
}

func TestListEnded(t *testing.T) {
	w := newWorld(t)
	first, second := w.loggedIn("ann"), w.loggedIn("ann")
	w.loggedIn("bob")
	one, two := w.id(first), w.id(second)
	begun := w.time()
	w.pass(time.Minute)
	w.visit(first, func(s *sojourn.Session) error { return s.Logout() })
	w.pass(time.Minute)
	if err := w.End(ctx, two); err != nil {
		t.Fatal(err)
	}
	list, err := w.ListEnded(ctx, "ann", 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []sojourn.EndedInfo{{ID: two, EndedAt: begun.Add(2 * time.Minute), Reason: sojourn.ReasonRevoked}, {ID: one, EndedAt: begun.Add(time.Minute), Reason: sojourn.ReasonLogout}} {
		want.Subject, want.CreatedAt, want.LastSeen = "ann", begun, home
		want.CreatedAt, want.EndedAt = want.CreatedAt.UTC().Truncate(time.Millisecond), want.EndedAt.UTC().Truncate(time.Millisecond)
		w.want("ended", list[i], want)
	}
	list, err = w.ListEnded(ctx, "ann", 1)
	if err != nil || len(list) != 1 || list[0].ID != two {
		t.Errorf("the last one: %+v, %v", list, err)
	}
	w.pass(time.Hour + time.Minute)
	if list, err := w.ListEnded(ctx, "ann", 10); err != nil || len(list) != 0 {
		t.Errorf("an hour later: %+v, %v", list, err)
	}
	if _, err := w.ListEnded(ctx, "", 10); !errors.Is(err, sojourn.ErrSubject) {
		t.Errorf("without a user: %v", err)
	}
	if _, err := w.ListEnded(ctx, "ann", 0); err == nil {
		t.Error("a limit of 0 is accepted")
	}
}

// A bad cursor from a client is the client's error.
func TestBadCursor(t *testing.T) {
	w := newWorld(t)
	for _, page := range []struct {
		cursor string
		limit  int
	}{{"nonsense", 10}, {"", 0}, {"", 1001}} {
		if _, _, err := w.List(ctx, "", page.cursor, page.limit); sojourn.StatusCode(err) != 400 {
			t.Errorf("%v: %v", page, err)
		}
	}
}

// An operator reads and changes a session by its ID. That is no activity, and
// rotates no secret.
func TestByID(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.confirm(j)
	w.pass(20 * time.Minute) // a rotation is due
	id := w.present(j.session).ID()
	before, err := w.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	red := map[string]json.RawMessage{"color": json.RawMessage(`"red"`), "none": nil}
	if _, err := w.SetValues(t.Context(), id, before.Revision+1, red); !errors.Is(err, sojourn.ErrRevision) {
		t.Errorf("another revision: %v", err)
	}
	after, err := w.SetValues(t.Context(), id, before.Revision, red)
	if err != nil || string(after.Values) != `{"color":"red"}` || after.Revision != before.Revision+1 {
		t.Fatalf("%s, %v", after.Values, err)
	}
	if !after.LastSeenAt.Equal(before.LastSeenAt) || after.LastSeen != before.LastSeen || after.Subject != "ann" {
		t.Errorf("an operator's call counts as activity: %+v, was %+v", after, before)
	}
	if got, err := w.Get(t.Context(), id); err != nil || string(got.Values) != string(after.Values) || got.Revision != after.Revision {
		t.Errorf("read again: %+v, %v", got, err)
	}
	blue := map[string]json.RawMessage{"sky": json.RawMessage(`null`)}
	if _, err := w.ReplaceValues(t.Context(), id, before.Revision, blue); !errors.Is(err, sojourn.ErrRevision) {
		t.Errorf("replace at another revision: %v", err)
	}
	after, err = w.ReplaceValues(t.Context(), id, after.Revision, blue)
	if err != nil || string(after.Values) != `{"sky":null}` {
		t.Fatalf("%s, %v", after.Values, err)
	}
	for _, change := range []func(context.Context, sojourn.ID, uint64, map[string]json.RawMessage) (sojourn.Snapshot, error){w.SetValues, w.ReplaceValues} {
		if after, err = change(t.Context(), id, 0, map[string]json.RawMessage{"color": red["color"]}); err != nil {
			t.Errorf("at any revision: %v", err)
		}
	}
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 0)
	w.want("subject", w.look(j), "ann")
	if _, err := w.SetValues(t.Context(), id, after.Revision, map[string]json.RawMessage{"": red["color"]}); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("a bad key: %v", err)
	}

	if err := w.End(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, id := range []sojourn.ID{id, {}, {1}} {
		if _, err := w.Get(t.Context(), id); !errors.Is(err, sojourn.ErrNotFound) {
			t.Errorf("get %v: %v", id, err)
		}
		if _, err := w.SetValues(t.Context(), id, 1, red); !errors.Is(err, sojourn.ErrNotFound) {
			t.Errorf("set %v: %v", id, err)
		}
		if _, err := w.ReplaceValues(t.Context(), id, 1, red); !errors.Is(err, sojourn.ErrNotFound) {
			t.Errorf("replace %v: %v", id, err)
		}
	}
}

// Touch by ID is activity: it moves the idle deadline, at most once a minute, and
// changes nothing else. A session that is over stays over.
func TestTouchByID(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	id := w.id(j)
	before := w.record(id)
	touch := func() sojourn.Info {
		t.Helper()
		w.pass(23 * time.Hour)
		info, err := w.Touch(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for range 3 { // the idle limit is a day
		now := touch()
		w.want("last seen", now.LastSeenAt, w.time())
		w.want("idle deadline", now.IdleExpiresAt, w.time().Add(24*time.Hour))
	}
	after := w.record(id)
	w.want("stored", after.LastSeenAt.Time(), w.time())
	w.want("revision", after.Revision, before.Revision)
	w.want("client", after.LastClient, before.LastClient)
	w.pass(59 * time.Second)
	info, err := w.Touch(ctx, id)
	w.want("within a minute", info.LastSeenAt, after.LastSeenAt.Time())
	w.want("error", err, nil)
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 0)
	w.want("subject", w.look(j), "ann")

	for range 28 {
		touch()
	}
	w.pass(23 * time.Hour)
	ended := w.id(w.loggedIn("bob"))
	if err := w.End(ctx, ended); err != nil {
		t.Fatal(err)
	}
	for _, id := range []sojourn.ID{id, ended, {}, {1}} {
		if _, err := w.Touch(ctx, id); !errors.Is(err, sojourn.ErrNotFound) {
			t.Errorf("touch of %v, which doesn't live: %v", id, err)
		}
	}
	w.want("ann, past the absolute deadline", w.look(j), "")
}

// Values that are removed, or become smaller, make room for those that are set in
// the same call.
func TestSetValuesMakesRoom(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxValue, o.MaxSession = 1000, 1000 }))
	j := w.loggedIn("ann")
	large := json.RawMessage(`"` + strings.Repeat("x", 900) + `"`)
	id, now, next := w.id(j), "a", "b"
	for range 20 { // the order of a map is random
		at, err := w.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.SetValues(ctx, id, at.Revision, map[string]json.RawMessage{now: nil, next: large}); err != nil {
			t.Fatal(err)
		}
		now, next = next, now
	}
	small := json.RawMessage("  1" + strings.Repeat(" ", 950)) // blanks aren't stored
	for range 20 {
		if _, err := w.SetValues(ctx, id, 0, map[string]json.RawMessage{now: small, next: large}); err != nil {
			t.Fatal(err)
		}
		now, next = next, now
	}
}

func TestListSnapshots(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"red", "blue", "green"} {
		w.visit(w.loggedIn("ann"), func(s *sojourn.Session) error { return color.Set(s, text) })
		w.pass(time.Millisecond)
	}
	var values []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := w.ListSnapshots(ctx, "ann", cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			w.want("subject", s.Subject, "ann")
			values = append(values, string(s.Values))
		}
		cursor = next
	}
	w.want("values", strings.Join(values, " "), `{"color":"red"} {"color":"blue"} {"color":"green"}`)
	if _, _, err := w.ListSnapshots(ctx, "", "nonsense", 2); !errors.Is(err, sojourn.ErrCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
}

// Get tells the life of each secret that may still be good, and no secret.
func TestSecretTimes(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.confirm(j)
	w.pass(20 * time.Minute)
	w.confirm(j) // with a rotation
	w.pass(2 * time.Minute)
	w.confirm(j)
	snap, err := w.Get(t.Context(), w.present(j.session).ID())
	if err != nil || len(snap.Secrets) != 2 {
		t.Fatalf("%+v, %v", snap.Secrets, err)
	}
	first, now := snap.Secrets[0], snap.Secrets[1]
	if !first.Login || first.ConfirmedAt.IsZero() || first.GoodUntil.Before(now.ConfirmedAt) {
		t.Errorf("the login's: %+v", first)
	}
	if now.Login || !now.IssuedAt.After(first.IssuedAt) || now.ConfirmedAt.Before(now.FirstSeenAt) || !now.GoodUntil.IsZero() {
		t.Errorf("the current one: %+v", now)
	}
}
