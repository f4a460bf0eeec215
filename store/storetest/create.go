package storetest

import (
	"bytes"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

var createCases = []testCase{
	{"Create/EveryField", func(f *fixture) {
		for _, rec := range []*store.Record{full("alice"), session("alice"), session(""), full("")} {
			rec.Revision = 77
			f.create(rec)
			if rec.Revision != 1 {
				f.Fatalf("Revision = %d after Create, want 1", rec.Revision)
			}
			f.wantRecord(rec)
		}
	}},
	{"Create/NoZeroFieldNeeded", func(f *fixture) {
		rec := &store.Record{ID: newID(t0), CreatedAt: t0, LastSeenAt: t0, ExpiresAt: t0 + 1, Idle: 1e6}
		f.create(rec)
		f.wantRecord(rec)
	}},
	{"Create/Exists", func(f *fixture) {
		rec := f.create(session("alice"))
		before := clone(rec)
		other := session("bob")
		other.ID = rec.ID
		f.wantErr(f.tryCreate(other, created(other)), store.ErrExists)
		f.wantRecord(before)
		f.wantList("bob", t0)
		f.wantCount(1, 1)
	}},
	{"I4/CreateAfterEnd", func(f *fixture) {
		rec := f.create(session("alice"))
		before := clone(rec)
		f.end(rec, store.ReasonLogout, t0+1)
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrExists)
		f.wantGone(before, store.ReasonLogout, t0+1)
	}},
	{"Create/ExistsEndsNobody", func(f *fixture) {
		first := f.create(session("alice"))
		again := session("alice")
		again.ID = first.ID
		f.wantErr(f.tryCreate(again, limited(again, 1)), store.ErrExists)
		f.wantRecord(first)
	}},
	{"Create/Barrier", func(f *fixture) {
		f.endSubject("alice", t0)
		for arrived, want := range map[store.Time]error{t0 - 1: store.ErrBarrier, t0: store.ErrBarrier, t0 + 1: nil} {
			rec := sessionAt("alice", t0+10)
			opt := created(rec)
			opt.Arrived = arrived
			_, err := f.s.Create(f.ctx, app, rec, opt)
			if want == nil {
				f.must(err)
				f.wantRecord(rec)
				continue
			}
			f.wantErr(err, want)
			f.wantErr(f.getErr(rec.ID), store.ErrNotFound)
		}
		rec := session("bob") // the barrier is for alice only
		rec.CreatedAt--
		f.create(rec)
		f.create(session(""))
	}},
	{"Create/Watermark", func(f *fixture) {
		f.must(f.s.EndAll(f.ctx, app, t0))
		for _, subject := range []string{"", "alice"} {
			rec := sessionAt(subject, t0+10)
			opt := created(rec)
			opt.Arrived = t0
			f.wantErr(f.tryCreate(rec, opt), store.ErrBarrier)
			f.wantErr(f.getErr(rec.ID), store.ErrNotFound)
			opt.Arrived = t0 + 1
			f.must(f.tryCreate(rec, opt))
			f.wantRecord(rec)
		}
		f.wantCount(2, 1)
	}},
	{"I11/LimitRefuses", func(f *fixture) {
		a, b := f.create(session("alice")), f.create(session("alice"))
		c := session("alice")
		opt := limited(c, 2)
		opt.Limit.Refuse = true
		f.wantErr(f.tryCreate(c, opt), store.ErrLimit)
		f.wantErr(f.getErr(c.ID), store.ErrNotFound)
		f.wantList("alice", t0, a, b)
		opt.Limit.Max = 3
		f.must(f.tryCreate(c, opt))
		f.wantList("alice", t0, a, b, c)
	}},
	{"I11/LimitEvictsTheOldest", func(f *fixture) {
		// Limits evict in the order of creation. Here, that differs from the
		// order of the IDs and of CreatedAt.
		var list []*store.Record
		for _, at := range []store.Time{5, 3, 4, 1, 2} {
			list = append(list, f.create(sessionAt("alice", t0+at)))
		}
		rec := sessionAt("alice", t0+9)
		f.createEvicting(rec, 5, list[0])
		f.wantGone(list[0], store.ReasonEvicted, t0+9)
		f.wantList("alice", t0+9, append(list[1:], rec)...)
		f.wantCount(5, 5)

		next := sessionAt("alice", t0+10) // a lower limit evicts several
		f.createEvicting(next, 2, list[1:]...)
		f.wantList("alice", t0+10, rec, next)

		last := sessionAt("alice", t0+11)
		f.createEvicting(last, 1, rec, next)
		f.wantList("alice", t0+11, last)
	}},
	{"I11/NoLimit", func(f *fixture) {
		var list []*store.Record
		for range 150 {
			list = append(list, f.create(session("alice")))
		}
		f.wantList("alice", t0, list...)
	}},
	{"I11/TheAnonymousHaveNoLimit", func(f *fixture) {
		for range 5 {
			f.createEvicting(session(""), 1)
		}
		f.wantCount(5, 0)
	}},
	{"I11/OthersDontCount", func(f *fixture) {
		kept := []*store.Record{f.create(session("bob")), f.create(session("")), session("alice")}
		f.in("blog").create(kept[2])
		rec := session("alice")
		opt := limited(rec, 1)
		opt.Limit.Refuse = true
		f.wantEnded(f.s.Create(f.ctx, app, rec, opt))
		f.wantRecord(kept[0])
		f.wantRecord(kept[1])
		f.wantRecord(rec)
	}},
	{"I11/ExpiredAndEndedDontCount", func(f *fixture) {
		idle, absolute, endedOne, live := session("alice"), session("alice"), session("alice"), sessionAt("alice", t0+hour)
		absolute.Idle, absolute.ExpiresAt = 1e15, t0+hour
		for _, rec := range []*store.Record{idle, absolute, endedOne, live} {
			f.create(rec)
		}
		f.end(endedOne, store.ReasonLogout, t0)
		rec := sessionAt("alice", t0+hour) // at the deadlines of idle and absolute
		opt := limited(rec, 2)
		opt.Limit.Refuse = true
		ended, err := f.s.Create(f.ctx, app, rec, opt)
		f.must(err)
		for _, e := range ended { // Create may end expired sessions
			if e != endedOf(idle, store.ReasonIdle, t0+hour) && e != endedOf(absolute, store.ReasonAbsolute, t0+hour) {
				f.Errorf("Create ended %+v", e)
			}
		}
		f.wantList("alice", t0+hour, live, rec)
	}},
	{"I11/WatermarkedDontCount", func(f *fixture) {
		old := f.create(session("alice"))
		f.must(f.s.EndAll(f.ctx, app, t0))
		rec := sessionAt("alice", t0+1)
		f.createEvicting(rec, 1)
		f.wantGone(old, store.ReasonRevoked, t0)
		f.wantList("alice", t0+1, rec)
	}},
	{"Create/IdempotencyKey", func(f *fixture) {
		first := session("alice")
		opt := created(first)
		opt.Key, opt.KeyBody = "key", [32]byte{1}
		f.must(f.tryCreate(first, opt))

		again := session("alice")
		f.wantErr(f.tryCreate(again, opt), store.ErrRepeated)
		if again.ID != first.ID {
			f.Errorf("rec.ID = %v after ErrRepeated, want %v", again.ID, first.ID)
		}
		f.wantErr(f.tryCreate(clone(first), opt), store.ErrRepeated) // not ErrExists
		full := opt
		full.Limit = store.Limit{Max: 1, Refuse: true}
		f.wantErr(f.tryCreate(session("alice"), full), store.ErrRepeated) // a repeat ignores the limit
		f.wantCount(1, 1)

		other := session("alice")
		opt.KeyBody[0]++
		f.wantErr(f.tryCreate(other, opt), store.ErrKeyReused)
		f.wantCount(1, 1)

		opt.Key = "KEY" // another key
		f.must(f.tryCreate(session("alice"), opt))
		opt.Key = ""
		for range 2 {
			f.must(f.tryCreate(session("alice"), opt))
		}
	}},
	{"Create/IdempotencyKeyOfAFailure", func(f *fixture) {
		rec := session("alice")
		f.create(clone(rec))
		opt := created(rec)
		opt.Key = strings.Repeat("k", 255)
		f.wantErr(f.tryCreate(rec, opt), store.ErrExists)
		rec = session("alice")
		f.must(f.tryCreate(rec, opt))
		f.wantRecord(rec)
	}},
	{"Create/IdempotencyKeyOutlivesItsSession", func(f *fixture) {
		rec := session("alice")
		opt := created(rec)
		opt.Key = "key"
		f.must(f.tryCreate(rec, opt))
		f.end(rec, store.ReasonLogout, t0)
		opt.Now += store.Time(store.IdempotencyLife.Milliseconds()) - 1
		f.sweep(opt.Now)
		again := session("alice")
		f.wantErr(f.tryCreate(again, opt), store.ErrRepeated)
		if again.ID != rec.ID {
			f.Errorf("rec.ID = %v, want %v", again.ID, rec.ID)
		}
	}},
	{"Create/IdempotencyKeyAfterItsLife", func(f *fixture) {
		rec := session("alice")
		opt := created(rec)
		opt.Key = "key"
		f.must(f.tryCreate(rec, opt))
		opt.Now += store.Time(store.IdempotencyLife.Milliseconds()) + 1
		opt.KeyBody[0]++
		f.sweep(opt.Now)
		f.must(f.tryCreate(session("alice"), opt))
	}},
	{"Create/ValuesStayEqual", func(f *fixture) {
		for _, json := range []string{
			`{"b":[1,{"longer":null,"a":"x"},[]],"a":{}}`, ` { "z" : 1 , "y" : [ 1 , 2 ] } `, `"\u00e9\t\""`, `{"\u00e9":1.50,"e":-2}`, `12345678901234567890`, `[]`, `{}`, `null`,
		} {
			rec := session("alice")
			rec.Values = values("k", json)
			f.create(rec)
			if got := f.get(rec.ID); !got.Values.Equal(rec.Values) {
				f.Errorf("%s came back as %q", json, got.Values)
			}
		}
	}},
	{"I11/MaxRecord", func(f *fixture) {
		for _, subject := range []string{"", "alice", strings.Repeat("s", 255)} {
			rec := session(subject)
			rec.Values = nil
			json := `"` + strings.Repeat("v", store.MaxRecord-len(subject)-16) + `"`
			rec.Values = values("big", json)
			f.create(rec)
			f.wantRecord(rec)
			rec.Values = values("small", "1")
			f.update(rec, plain(t0))
			f.wantRecord(rec)
			rec.Values = values("big", json)
			f.update(rec, plain(t0))
			f.wantRecord(rec)
			f.end(rec, store.ReasonLogout, t0)
			f.wantGone(rec, store.ReasonLogout, t0)
		}
	}},
	{"I11/MaxBinding", func(f *fixture) {
		binding := func(n int) (b []byte) {
			for i := range n {
				b = append(b, byte(i))
			}
			return b
		}
		for _, subject := range []string{"", "alice", strings.Repeat("s", 255)} {
			rec := session(subject)
			rec.Values = values("big", `"`+strings.Repeat("v", store.MaxRecord-len(subject)-16)+`"`)
			rec.Binding = binding(store.MaxBinding)
			f.create(rec)
			for _, n := range []int{store.MaxBinding, 0, 1, store.MaxBinding - 1, store.MaxBinding} {
				rec.Binding = binding(n)
				f.update(rec, plain(t0))
				f.wantRecord(rec)
				f.must(f.s.Touch(f.ctx, app, rec.ID, t0+1, t0+1, laptop)) // no write that isn't an Update changes it
				f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1}))
				if got := f.get(rec.ID); !bytes.Equal(got.Binding, rec.Binding) {
					f.Fatalf("a binding of %d bytes came back as %d", len(rec.Binding), len(got.Binding))
				}
				rec = f.get(rec.ID)
			}
			f.end(rec, store.ReasonLogout, t0)
			f.wantGone(rec, store.ReasonLogout, t0)
		}
	}},
	{"Create/Aliasing", func(f *fixture) {
		rec := full("alice")
		want := clone(rec)
		want.Revision = 1
		f.create(rec)
		scribble(rec)
		f.wantRecord(want)
	}},
}

// scribble overwrites the contents of a record's slices.
func scribble(rec *store.Record) {
	for i := range rec.Good {
		rec.Good[i] = store.Secret{}
	}
	for i := range rec.Spent {
		rec.Spent[i] = store.Spent{}
	}
	clear(rec.Epochs)
	clear(rec.Halves)
	clear(rec.Values)
	clear(rec.Binding)
}
