package storetest

import (
	"errors"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

// scopeCases check that a call for one application leaves the others unchanged,
// even if IDs and subjects are equal.
var scopeCases = []testCase{
	{"Scope/EveryMethod", func(f *fixture) {
		mine := f.create(session("alice"))
		theirs := clone(mine) // the same ID, subject and secret
		theirs.Values = values("theirs", "1")
		f.in("blog").create(theirs)
		visitor := session("")
		f.in("blog").create(visitor)
		whole := func(what string) {
			f.Helper()
			for _, rec := range []*store.Record{theirs, visitor} {
				f.wantEqual(what+" changed another application's session", f.in("blog").get(rec.ID), rec)
			}
			if n := len(f.in("blog").list("", 10, t0)); n != 2 {
				f.Fatalf("%s: the other application lists %d sessions", what, n)
			}
			if n := len(f.in("blog").list("alice", 10, t0)); n != 1 {
				f.Fatalf("%s: the other application lists %d sessions of alice", what, n)
			}
			f.in("blog").wantCount(2, 1)
		}
		whole("Create")
		f.wantRecord(mine)
		f.wantCount(1, 1)
		f.wantList("alice", t0, mine)
		if n := len(f.list("", 10, t0)); n != 1 {
			f.Fatalf("List of all returned %d sessions, want 1", n)
		}
		mine.Values = values("mine", "2")
		f.update(mine, plain(t0))
		whole("Update")
		f.update(mine, login(t0))
		whole("a login")
		f.must(f.s.Touch(f.ctx, app, mine.ID, t0+9, t0+9, laptop))
		whole("Touch")
		f.must(f.s.Confirm(f.ctx, app, mine.ID, mine.Secret.Hash, store.Confirmation{FirstSeenAt: t0, ConfirmedAt: t0}))
		whole("Confirm")
		rec := session("alice")
		f.must(f.tryCreate(rec, limited(rec, 1)))
		whole("an eviction")
		f.end(rec, store.ReasonLogout, t0)
		whole("End")
		f.endSubject("alice", t0)
		whole("EndSubject")
		f.must(f.s.EndAll(f.ctx, app, t0))
		whole("EndAll")
		f.in("blog").create(session("alice")) // no barrier and no watermark
		f.in("blog").wantCount(3, 2)
	}},
	{"Scope/Foreign", func(f *fixture) {
		// Each call with another application's ID finds no session.
		rec := f.create(session("alice"))
		f.in("blog").create(session("bob"))
		for _, other := range []string{"blog", "", "Shop", "shop ", "nowhere"} {
			f.wantErr(f.in(other).getErr(rec.ID), store.ErrNotFound)
			f.wantErr(f.s.Get(f.ctx, other, rec.ID, false, new(store.Record)), store.ErrNotFound)
			_, err := f.s.Update(f.ctx, other, clone(rec), plain(t0))
			f.wantErr(err, store.ErrNotFound)
			f.wantErr(f.s.Touch(f.ctx, other, rec.ID, t0+1, t0+1, laptop), store.ErrNotFound)
			f.wantErr(f.s.Confirm(f.ctx, other, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0}), store.ErrNotFound)
			_, err = f.s.End(f.ctx, other, rec.ID, store.ReasonLogout, t0)
			f.wantErr(err, store.ErrNotFound)
			f.wantEnded(f.s.EndSubject(f.ctx, other, "alice", store.ID{}, store.ReasonLogout, t0))
			f.must(f.s.EndAll(f.ctx, other, t0-1))
			if got := f.in(other).list("alice", 10, t0); len(got) != 0 {
				f.Errorf("List for %q returned %+v", other, got)
			}
		}
		f.wantRecord(rec)
		f.wantCount(1, 1)
		f.in("nowhere").wantCount(0, 0)
	}},
	{"Scope/Sweep", func(f *fixture) {
		// A sweep ends, reports and forgets only sessions of its own
		// application.
		names := []string{"blog", "", "Shop", "shop "}
		var others []*store.Record
		for _, name := range names {
			rec, ended := session("alice"), session("bob")
			opt := created(rec)
			opt.Key = "key"
			f.must(f.in(name).tryCreate(rec, opt))
			f.in(name).create(ended)
			f.in(name).end(ended, store.ReasonLogout, t0)
			others = append(others, rec, ended)
		}
		mine := f.create(session("alice"))
		f.wantEnded(f.sweep(t0+hour), nil, endedOf(mine, store.ReasonIdle, t0+hour))
		f.wantEnded(f.sweep(t0+100*day), nil)
		f.wantEnded(f.in("nowhere").sweep(t0+100*day), nil)
		for i, name := range names {
			rec, ended := others[2*i], others[2*i+1]
			f.wantEqual("a session after sweeps of other applications", f.in(name).get(rec.ID), rec)
			f.wantErr(f.in(name).getErr(ended.ID), store.ErrEnded)
			again := session("alice")
			opt := created(again)
			opt.Key = "key"
			f.wantErr(f.in(name).tryCreate(again, opt), store.ErrRepeated)
			f.in(name).wantCount(1, 1)
		}
	}},
	{"Scope/SweepsSideBySide", func(f *fixture) {
		// Parallel sweeps report the ends of their own application, once each.
		const each = 100
		names := []string{"shop", "blog", "", "Shop"}
		want := map[string]map[store.ID]bool{}
		for _, name := range names {
			want[name] = map[store.ID]bool{}
		}
		for i := range each * len(names) {
			rec := session([]string{"", "alice"}[i/len(names)%2])
			f.in(names[i%len(names)]).create(rec)
			want[names[i%len(names)]][rec.ID] = true
		}
		ended := make([][]store.Ended, len(names))
		var sweeps []func()
		for i, name := range names {
			sweeps = append(sweeps, func() { ended[i] = f.in(name).sweep(t0 + hour) })
		}
		parallel(sweeps...)
		for i, name := range names {
			for _, e := range ended[i] {
				if e.App != name || !want[name][e.ID] {
					f.Fatalf("the sweep of %q ended %+v, which is unexpected or repeated", name, e)
				}
				delete(want[name], e.ID)
			}
			if n := len(want[name]); n > 0 {
				f.Fatalf("the sweep of %q did not report %d ends", name, n)
			}
			f.in(name).wantCount(0, 0)
		}
	}},
	{"Scope/IdempotencyKey", func(f *fixture) {
		for _, name := range []string{"shop", "blog"} {
			rec := session("alice")
			opt := created(rec)
			opt.Key, opt.KeyBody = "key", [32]byte{name[0]}
			f.must(f.in(name).tryCreate(rec, opt))
		}
	}},
	{"Scope/Limit", func(f *fixture) {
		for _, name := range []string{"shop", "blog", "Shop"} {
			rec := session("alice")
			opt := limited(rec, 1)
			opt.Limit.Refuse = true
			f.must(f.in(name).tryCreate(rec, opt))
		}
	}},
}

// hostile lists names that a store might confuse or fail to handle.
var hostile = []string{
	"alice", "Alice", "ALICE", "alice ", " alice", "alice\x00", "\x00alice", "alice\x00x", "alic\x00e", "\x00", " ", "  ", "\t", "\n", "alice\n",
	"al%", "%", "_", "a_ice", "alice%", "'", "''", `"`, "`", `\`, `\\`, "alice'; DROP TABLE sessions; --", "{alice}", "{", "}", "{}", "a{b}c", ":", "a:b", "a:", ":b", "*", "?", "[a]", "alice*",
	"é", "e\u0301", "É", "ß", "SS", "ss", "ı", "i", "I", "İ", "\xff", "\xfe", "\xff\xfe", "al\xc3", "\xed\xa0\x80", "\uFFFD", "\U0010FFFF", "ﬁ", "fi", "\u00c5", "\u212b", "1", "01", "1.0", "1e0", "+1", "-1", "0", "null", "NULL", "true", "\\x616c696365", "$1", "alice\u200b", "alice\u00a0", "../alice", "a/b", "/", "|", ",", ";", "a\r\nb",
}

var hostileCases = []testCase{
	{"Hostile/Subjects", func(f *fixture) {
		long := strings.Repeat("x", 254)
		names := append([]string{long, long + "x", long + "X", long + " ", long + "y", strings.Repeat("é", 127), strings.Repeat("\x00", 255), strings.Repeat("x", 4000), strings.Repeat("x", 4001)}, hostile...)
		var list []*store.Record
		for _, name := range names {
			rec := session(name)
			opt := limited(rec, 1) // if names are confused, one session evicts the other
			ended, err := f.s.Create(f.ctx, app, rec, opt)
			if err != nil || len(ended) > 0 {
				f.Fatalf("Create for %q: ended %+v, %v", name, ended, err)
			}
			list = append(list, rec)
		}
		for i, name := range names {
			f.wantRecord(list[i])
			f.wantList(name, t0, list[i])
		}
		f.wantCount(int64(len(names)), int64(len(names)))
		for i, name := range names {
			ended, err := f.s.EndSubject(f.ctx, app, name, store.ID{}, store.ReasonRevoked, t0+1)
			if err != nil || len(ended) != 1 || ended[0] != endedOf(list[i], store.ReasonRevoked, t0+1) {
				f.Fatalf("EndSubject of %q ended %+v, %v", name, ended, err)
			}
			if i+1 < len(names) { // no barrier for the others
				next := sessionAt(names[i+1], t0+1)
				if _, err := f.s.Create(f.ctx, app, next, created(next)); err != nil {
					f.Fatalf("Create for %q after EndSubject of %q: %v", names[i+1], name, err)
				}
				f.end(next, store.ReasonLogout, t0+1)
			}
			rec := sessionAt(name, t0+1)
			f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
		}
		f.wantCount(0, 0)
	}},
	{"Hostile/Logins", func(f *fixture) {
		var list []*store.Record
		for _, name := range hostile {
			rec := f.create(session(""))
			rec.Subject = name
			opt := login(t0)
			opt.Limit = store.Limit{Max: 1, Refuse: true}
			if _, err := f.s.Update(f.ctx, app, rec, opt); err != nil {
				f.Fatalf("login as %q: %v", name, err)
			}
			list = append(list, rec)
		}
		for i, name := range hostile {
			f.wantList(name, t0, list[i])
		}
	}},
	{"Hostile/Applications", func(f *fixture) {
		rec := session("alice")
		names := append([]string{""}, hostile...)
		for _, name := range names {
			f.in(name).create(clone(rec)) // the same ID in each
		}
		for i, name := range names {
			f.in(name).wantCount(1, 1)
			ended, err := f.s.End(f.ctx, name, rec.ID, store.ReasonLogout, t0+store.Time(i))
			if err != nil || len(ended) != 1 || ended[0].App != name {
				f.Fatalf("End for %q: %+v, %v", name, ended, err)
			}
			f.in(name).wantCount(0, 0)
		}
		for i, name := range names {
			var got store.Record
			err := f.s.Get(f.ctx, name, rec.ID, true, &got)
			if !errors.Is(err, store.ErrEnded) || got.EndAt != t0+store.Time(i) {
				f.Errorf("the session of %q: %v, ended at %d", name, err, got.EndAt)
			}
		}
	}},
	{"Hostile/Concatenations", func(f *fixture) {
		// Each pair of names gives the same string if a store joins application
		// and subject, with or without a separator.
		type name struct{ app, subject string }
		names := []name{{"ab", "c"}, {"a", "bc"}, {"a:b", "c"}, {"a", "b:c"}, {"a\x00b", "c"}, {"a", "b\x00c"}, {"a/b", "c"}, {"a", "b/c"},
			{"a}{b", "c"}, {"a", "}{bc"}, {"a|b", "c"}, {"a", "b|c"}, {"", "abc"}, {"abc", ""}, {"{a}", "b"}, {"{a", "}b"}}
		recs := map[name]*store.Record{}
		for _, n := range names {
			rec := session(n.subject)
			opt := limited(rec, 1)
			opt.Key = n.subject // unique within an application only
			ended, err := f.s.Create(f.ctx, n.app, rec, opt)
			if err != nil || len(ended) > 0 {
				f.Fatalf("Create for %q: ended %+v, %v", n, ended, err)
			}
			recs[n] = rec
		}
		for _, n := range names {
			if n.subject == "" {
				continue
			}
			ended, err := f.s.EndSubject(f.ctx, n.app, n.subject, store.ID{}, store.ReasonRevoked, t0)
			if err != nil || len(ended) != 1 || ended[0].ID != recs[n].ID {
				f.Fatalf("EndSubject of %q ended %+v, %v", n, ended, err)
			}
		}
	}},
	{"Hostile/Keys", func(f *fixture) {
		for i, key := range hostile {
			rec := session("")
			opt := created(rec)
			opt.Key, opt.KeyBody = key, [32]byte{byte(i)}
			if _, err := f.s.Create(f.ctx, app, rec, opt); err != nil {
				f.Fatalf("Create under the key %q: %v", key, err)
			}
		}
	}},
	{"Hostile/Strings", func(f *fixture) {
		for _, s := range append([]string{"", strings.Repeat("u", 70_000)}, hostile...) {
			rec := session("alice")
			rec.AMR, rec.Client.UserAgent, rec.LastClient.UserAgent = s, s, s+"x"
			f.create(rec)
			f.wantRecord(rec)
			f.must(f.s.Touch(f.ctx, app, rec.ID, t0+1, t0+1, store.Client{UserAgent: s + "y"}))
			rec.LastSeenAt, rec.LastClient = t0+1, store.Client{UserAgent: s + "y"}
			f.wantRecord(rec)
		}
	}},
	{"Hostile/ManyAgents", func(f *fixture) {
		var list []*store.Record
		for i := range 500 {
			rec := session("")
			rec.Client.UserAgent = strings.Repeat("agent", 50) + newID(t0).String()
			rec.LastClient = rec.Client
			list = append(list, f.create(rec))
			if i%3 == 0 {
				_, err := f.s.End(f.ctx, app, list[i/2].ID, store.ReasonLogout, t0)
				f.must(err)
			}
		}
		for _, rec := range list {
			var got store.Record
			if err := f.s.Get(f.ctx, app, rec.ID, true, &got); err == nil && !got.Equal(rec) {
				f.Fatalf("Get:\n got %+v\nwant %+v", got, *rec)
			}
		}
	}},
	{"Hostile/IDs", func(f *fixture) {
		base := newID(t0)
		var list []*store.Record
		for i := range 16 {
			for _, bit := range []byte{1, 128} {
				rec := session("alice")
				rec.ID = base
				rec.ID[i] ^= bit
				list = append(list, f.create(rec))
			}
		}
		zeroTail := session("alice")
		zeroTail.ID = store.ID{15: 1}
		list = append(list, f.create(zeroTail), f.create(&store.Record{ID: store.ID{0: 255, 15: 255}, CreatedAt: 1, LastSeenAt: t0, ExpiresAt: t0 + 1, Idle: 1e6}))
		for _, rec := range list {
			f.wantRecord(rec)
		}
		f.wantErr(f.getErr(base), store.ErrNotFound)
	}},
	{"Hostile/Clock", func(f *fixture) {
		// The times go up to the year 10889. A store may keep times in any form
		// that holds these.
		for _, at := range []store.Time{1, 999, 1000, 1 << 31, 1<<32 + 1, 1 << 40, 1<<48 - 2, 281_474_976_710_000} {
			rec := &store.Record{ID: newID(t0), CreatedAt: 1, LastSeenAt: at, ExpiresAt: at + 1, Idle: 1, SpentTill: at, AuthenticatedAt: at,
				Spent: []store.Spent{{Until: at}, {Until: 1}}, Secret: store.Secret{Hash: newHash(), IssuedAt: at, FirstSeenAt: 1, ConfirmedAt: at, Until: 1}}
			rec.Idle = 1_000_000
			f.create(rec)
			f.wantRecord(rec)
			rec.LastSeenAt, rec.ExpiresAt = at+1, at+3
			f.update(rec, plain(at))
			f.wantRecord(rec)
			f.wantErr(f.tryUpdate(clone(rec), plain(at+2)), store.ErrEnded)
			f.end(rec, store.ReasonLogout, at)
			f.wantGone(rec, store.ReasonLogout, at)
		}
	}},
}
