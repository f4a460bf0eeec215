package redisstore

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// The limits are what the client does with the same bytes, on the same connections, side by side.

func benchSession(b *testing.B, s *Store) *store.Record {
	rec := session("ada")
	rec.Client.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
	rec.LastClient = rec.Client
	rec.AMR = "pwd"
	rec.Good = make([]store.Secret, 1)
	rec.Spent = make([]store.Spent, 2)
	rec.Values = store.Values(nil).AppendSet(nil, "cart", []byte(`{"items":[{"sku":"tea","n":2},{"sku":"cup","n":1}],"note":"a gift for somebody"}`))
	return create(b, s, rec)
}

func BenchmarkGet(b *testing.B) {
	s := open(b, Options{})
	rec := benchSession(b, s)
	key := s.placeOf(app, rec.ID).session(rec.ID)
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.client.Do(b.Context(), s.client.B().Get().Key(key).Build()).ToString(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		var got store.Record
		for b.Loop() {
			if err := s.Get(b.Context(), app, rec.ID, false, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
	parallel := func(b *testing.B, call func() error) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := call(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("raw/parallel", func(b *testing.B) {
		parallel(b, func() error {
			return s.client.Do(b.Context(), s.client.B().Get().Key(key).Build()).Error()
		})
	})
	b.Run("store/parallel", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			var got store.Record
			for pb.Next() {
				if err := s.Get(b.Context(), app, rec.ID, false, &got); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	s := open(b, Options{})
	rec := benchSession(b, s)
	text := encode(rec)
	raw := rueidis.NewLuaScript(`
local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, 8) ~= ARGV[1] then return {'conflict'} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {'ok'}`)
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		key := s.placeOf(app, rec.ID).session(rec.ID) + ":raw"
		full := text.full(t0, "1-a")
		for b.Loop() {
			if err := raw.Exec(b.Context(), s.client, []string{key}, []string{full[:8], full, "3600000"}).Error(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Update(b.Context(), app, rec, store.UpdateOptions{Arrived: t0, Now: t0}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw/parallel", func(b *testing.B) {
		full := text.full(t0, "1-a")
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			key := s.placeOf(app, rec.ID).session(session("").ID) + ":raw"
			for pb.Next() {
				if err := raw.Exec(b.Context(), s.client, []string{key}, []string{full[:8], full, "3600000"}).Error(); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("store/parallel", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			mine := session0(rec)
			mine.ID = session("").ID
			create(b, s, mine)
			for pb.Next() {
				if _, err := s.Update(b.Context(), app, mine, store.UpdateOptions{Arrived: t0, Now: t0}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkTouch(b *testing.B) {
	s := open(b, Options{})
	rec := benchSession(b, s)
	at := t0
	for b.Loop() {
		at++
		if err := s.Touch(b.Context(), app, rec.ID, at, at, rec.Client); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s := open(b, Options{})
	for b.Loop() {
		create(b, s, session(""))
	}
}

// A login at the limit: it evicts one of three.
func BenchmarkLoginAtTheLimit(b *testing.B) {
	s := open(b, Options{})
	for b.Loop() {
		rec := session("ada")
		opt := created(rec)
		opt.Limit.Max = 3
		if _, err := s.Create(b.Context(), app, rec, opt); err != nil {
			b.Fatal(err)
		}
	}
}

// Ending all of a subject's 1,000 sessions.
func BenchmarkEndSubject1000(b *testing.B) {
	s := open(b, Options{})
	var took time.Duration
	for n := range b.N {
		subject := "ada" + itoa(store.Time(n))
		for range 1000 {
			create(b, s, session(subject))
		}
		began := time.Now()
		ended, err := s.EndSubject(b.Context(), app, subject, store.ID{}, store.ReasonRevoked, t0)
		if err != nil || len(ended) != 1000 {
			b.Fatal(len(ended), err)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "ms/subject")
}
