// Package kept holds what the files in the drivers' testdata say: records that
// a version of a store wrote, and that every later version must read.
//
// A file stays as it is once a release has been written with its format. A
// version that changes the format adds a file of its own: run the test of the
// driver with SOJOURN_KEEP=1, on the day of Now, because Redis forgets tombstones
// and barriers by its own clock.
package kept

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// App is the application of the records, Closed one whose sessions have all
// ended.
const (
	App    = "shop"
	Closed = "closed"
)

// Now is when the records were written.
var Now = store.TimeOf(time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC))

const (
	day     = 24 * time.Hour
	century = 36500 * day // Redis forgets by its own clock
)

// Full returns a live session in which every field is set.
func Full() *store.Record {
	secret := func(n byte) store.Secret {
		return store.Secret{Hash: hash(n), IssuedAt: Now.Add(-time.Hour), FirstSeenAt: Now.Add(-50 * time.Minute), ConfirmedAt: Now.Add(-40 * time.Minute), Login: true}
	}
	good := secret(2)
	good.Until = Now.Add(time.Minute)
	return &store.Record{
		ID: id(1), Subject: `ada\x "ü"`, Epoch: 3,
		Secret: secret(1), Good: []store.Secret{good}, Spent: []store.Spent{{Print: hash(3).Print(), Until: Now}}, SpentTill: Now,
		EpochHash: hash(4), Epochs: []store.Fingerprint{hash(5).Print(), hash(6).Print()}, Halves: []store.Fingerprint{hash(7).Print()},
		CreatedAt: Now.Add(-day), AuthenticatedAt: Now.Add(-time.Hour), LastSeenAt: Now.Add(-time.Minute), Idle: century, ExpiresAt: Now.Add(century),
		AMR: "pwd otp", Level: 2, Remembered: true, Stale: true, Bearer: true, UntilBrowserCloses: true,
		Client:     store.Client{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: `Mozilla/5.0 "\` + "\x80"},
		LastClient: store.Client{IP: netip.MustParseAddr("2001:db8::7"), UserAgent: "curl"},
		Values:     store.Values{}.AppendSet(nil, "cart", []byte(`{"items":[1,2.50,"ü",null]}`)).AppendSet(nil, "language", []byte(`"de"`)),
	}
}

// Visitor returns a live anonymous session with as little as there can be.
func Visitor() *store.Record {
	return &store.Record{ID: id(2), Secret: store.Secret{Hash: hash(8), IssuedAt: Now, ConfirmedAt: Now}, EpochHash: hash(9),
		CreatedAt: Now, LastSeenAt: Now, Idle: century, ExpiresAt: Now.Add(century)}
}

// Bound returns a live session that is bound to a key.
func Bound() *store.Record {
	r := Of(7, "cleo")
	r.Binding = bytes.Repeat([]byte("\x00\xff\\x\"key"), 40)
	return r
}

// Of returns a session of a subject.
func Of(n byte, subject string) *store.Record {
	r := Visitor()
	r.ID, r.Subject, r.Secret.Hash = id(n), subject, hash(n)
	return r
}

func id(n byte) store.ID { return store.ID{0x01, 0x9a, 0xd0, 0, 0, n, 0x70, 15: n} }

func hash(n byte) store.Hash { return store.Hash(bytes.Repeat([]byte{n}, 32)) }

const (
	ended  = 3
	barred = 4
	closed = 5
)

func at(key string) store.CreateOptions {
	return store.CreateOptions{Arrived: Now, Now: Now, Key: key, KeyBody: hash(1), Limit: store.Limit{Max: 100}}
}

// Fill writes the records to an empty store.
func Fill(ctx context.Context, st store.Store) error {
	var errs []error
	create := func(app string, rec *store.Record, key string) {
		_, err := st.Create(ctx, app, rec, at(key))
		errs = append(errs, err)
	}
	create(App, Full(), "key")
	create(App, Visitor(), "")
	create(App, Bound(), "")
	create(App, Of(ended, "bob"), "")
	create(App, Of(barred, "eve"), "")
	create(Closed, Of(closed, "ada"), "")
	_, err := st.End(ctx, App, id(ended), store.ReasonTheft, Now)
	errs = append(errs, err)
	_, err = st.EndSubject(ctx, App, "eve", store.ID{}, store.ReasonRevoked, Now)
	return errors.Join(append(errs, err, st.EndAll(ctx, Closed, Now))...)
}

// Check reads what Fill wrote, and then changes it. Files of versions before
// bindings have no bound session.
func Check(ctx context.Context, st store.Store, bound bool) error {
	var got store.Record
	wants := []*store.Record{Full(), Visitor()}
	if bound {
		wants = append(wants, Bound())
	}
	for _, want := range wants {
		if err := st.Get(ctx, App, want.ID, true, &got); err != nil {
			return fmt.Errorf("session %v: %w", want.ID, err)
		}
		if want.Revision = 1; !got.Equal(want) {
			return fmt.Errorf("session %v reads as\n%+v\nand was written as\n%+v", want.ID, got, *want)
		}
	}
	for app, n := range map[string]byte{App: ended, Closed: closed} {
		if err := st.Get(ctx, app, id(n), true, &got); !errors.Is(err, store.ErrEnded) {
			return fmt.Errorf("the session that ended in %s: %w, want %w", app, err, store.ErrEnded)
		}
	}
	if err := st.Get(ctx, App, id(ended), true, &got); got.End != store.ReasonTheft || got.EndAt != Now {
		return fmt.Errorf("its tombstone: %+v, %w", got, err)
	}
	if _, err := st.Create(ctx, App, Of(6, "eve"), at("")); !errors.Is(err, store.ErrBarrier) {
		return fmt.Errorf("a login of eve from before its barrier: %w", err)
	}
	if _, err := st.Create(ctx, App, Of(6, "ada"), at("key")); !errors.Is(err, store.ErrRepeated) {
		return fmt.Errorf("a creation under a key that was used: %w", err)
	}
	if list, _, err := st.List(ctx, App, store.ListOptions{Subject: Full().Subject, Limit: 10, Now: Now}); err != nil || len(list) != 1 {
		return fmt.Errorf("the list of a subject: %v, %w", list, err)
	}
	rec := Full()
	rec.Revision, rec.Level = 1, 3
	if _, err := st.Update(ctx, App, rec, store.UpdateOptions{Arrived: Now, Now: Now}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if _, err := st.End(ctx, App, rec.ID, store.ReasonLogout, Now); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	list, _, err := st.List(ctx, App, store.ListOptions{Subject: rec.Subject, Ended: true, Limit: 10, Now: Now})
	if want := rec.Obituary(store.ReasonLogout, Now); err != nil || len(list) != 1 || !list[0].Equal(&want) {
		return fmt.Errorf("the list of a subject's ended sessions: %+v, %w", list, err)
	}
	return nil
}
