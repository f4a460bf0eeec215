package redisstore

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// The raw calls are the limits: the client sends the same bytes on the same
// connections, side by side.

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

// sideBySide runs two kinds of call in turn, so that a disturbance of the
// machine disturbs both. It reports their median times and the ratio: for one
// goroutine, and for sixteen, each with its own session.
func sideBySide(b *testing.B, calls func(b *testing.B) (raw, store func() error)) {
	for _, goroutines := range []int{1, 16} {
		b.Run(strconv.Itoa(goroutines), func(b *testing.B) {
			kinds := make([][]func() error, 2)
			for range goroutines {
				raw, store := calls(b)
				kinds[0], kinds[1] = append(kinds[0], raw), append(kinds[1], store)
			}
			var times [2][]time.Duration
			const slice = 100
			for b.Loop() {
				for i, kind := range kinds {
					began := time.Now()
					var wg sync.WaitGroup
					for _, call := range kind {
						wg.Go(func() {
							for range slice {
								if err := call(); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
					times[i] = append(times[i], time.Since(began)/time.Duration(slice*goroutines))
				}
			}
			for i := range times {
				slices.Sort(times[i])
			}
			r, s := times[0][len(times[0])/2], times[1][len(times[1])/2]
			b.ReportMetric(float64(r.Nanoseconds())/1000, "µs/raw")
			b.ReportMetric(float64(s.Nanoseconds())/1000, "µs/store")
			b.ReportMetric(float64(s)/float64(r), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkGetAgainstRaw(b *testing.B) {
	s := open(b, Options{})
	sideBySide(b, func(b *testing.B) (raw, store func() error) {
		rec := benchSession(b, s)
		key := s.placeOf(app, rec.ID).session(rec.ID)
		return func() error {
				_, err := s.client.Do(b.Context(), s.client.B().Get().Key(key).Build()).ToString()
				return err
			}, func() error {
				return s.Get(b.Context(), app, rec.ID, false, rec)
			}
	})
}

func BenchmarkUpdateAgainstRaw(b *testing.B) {
	s := open(b, Options{})
	script := rueidis.NewLuaScript(`
local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, 8) ~= ARGV[1] then return {'conflict'} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {'ok'}`)
	sideBySide(b, func(b *testing.B) (raw, write func() error) {
		rec := benchSession(b, s)
		e := encode(rec)
		full := e.full(t0, "1-a")
		key := s.placeOf(app, rec.ID).session(rec.ID) + ":raw"
		return func() error {
				return script.Exec(b.Context(), s.client, []string{key}, []string{full[:8], full, "3600000"}).Error()
			}, func() error {
				_, err := s.Update(b.Context(), app, rec, store.UpdateOptions{Arrived: t0, Now: t0})
				return err
			}
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

// A login at the limit, which evicts one of three.
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
