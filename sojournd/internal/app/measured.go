package app

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

var storeCalls = []string{"create", "get", "update", "touch", "confirm", "end", "end_subject", "end_all", "list", "count", "sweep"}

// store returns the store for an engine. It measures each call.
func (m *metrics) store() store.Store {
	measured := &measuredStore{m.backend, m}
	if w, ok := m.backend.(store.Watcher); ok {
		return struct {
			*measuredStore
			store.Watcher
		}{measured, w}
	}
	return measured
}

// A measuredStore measures the calls of one engine. The server closes the
// store.
type measuredStore struct {
	store.Store
	m *metrics
}

// done measures a call.
func (s *measuredStore) done(call string, began time.Time, err error) {
	s.m.calls[call].Observe(time.Since(began).Seconds())
	if failed(err) {
		s.m.errors.WithLabelValues(call).Inc()
	}
}

// failed reports whether the store did not answer. The errors of its contract
// are answers.
func failed(err error) bool {
	if err == nil {
		return false
	}
	for _, answer := range []error{
		store.ErrNotFound, store.ErrEnded, store.ErrExists, store.ErrConflict, store.ErrLimit, store.ErrBarrier, store.ErrRepeated, store.ErrKeyReused,
		store.ErrCursor, context.Canceled,
	} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}

func (s *measuredStore) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	began := time.Now()
	ended, err := s.Store.Create(ctx, app, rec, opt)
	s.done("create", began, err)
	return ended, err
}

func (s *measuredStore) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	began := time.Now()
	err := s.Store.Get(ctx, app, id, strict, rec)
	if err != nil || !rec.Cached {
		s.done("get", began, err)
	}
	return err
}

func (s *measuredStore) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	began := time.Now()
	ended, err := s.Store.Update(ctx, app, rec, opt)
	s.done("update", began, err)
	return ended, err
}

func (s *measuredStore) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	began := time.Now()
	err := s.Store.Touch(ctx, app, id, at, now, client)
	s.done("touch", began, err)
	return err
}

func (s *measuredStore) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	began := time.Now()
	err := s.Store.Confirm(ctx, app, id, secret, c)
	s.done("confirm", began, err)
	return err
}

func (s *measuredStore) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	began := time.Now()
	ended, err := s.Store.End(ctx, app, id, reason, at)
	s.done("end", began, err)
	return ended, err
}

func (s *measuredStore) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	began := time.Now()
	ended, err := s.Store.EndSubject(ctx, app, subject, except, reason, at)
	s.done("end_subject", began, err)
	return ended, err
}

func (s *measuredStore) EndAll(ctx context.Context, app string, at store.Time) error {
	began := time.Now()
	err := s.Store.EndAll(ctx, app, at)
	s.done("end_all", began, err)
	return err
}

func (s *measuredStore) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	began := time.Now()
	list, next, err := s.Store.List(ctx, app, opt)
	s.done("list", began, err)
	return list, next, err
}

func (s *measuredStore) Count(ctx context.Context, app string) (store.Count, error) {
	began := time.Now()
	n, err := s.Store.Count(ctx, app)
	s.done("count", began, err)
	return n, err
}

func (s *measuredStore) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	began := time.Now()
	ended, done, err := s.Store.Sweep(ctx, app, now, max)
	s.done("sweep", began, err)
	return ended, done, err
}

// cacheMetrics are the metrics of the cache in front of the store.
func cacheMetrics(stats func() nearcache.Stats) []prometheus.Collector {
	counter := func(name, help string, value func(nearcache.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(stats())) })
	}
	gauge := func(name, help string, value func(nearcache.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(stats()) })
	}
	return []prometheus.Collector{
		counter("sojourn_cache_hits_total", "Reads answered from memory.", func(s nearcache.Stats) uint64 { return s.Hits }),
		counter("sojourn_cache_negative_hits_total", "Reads of unknown sessions answered from memory.", func(s nearcache.Stats) uint64 { return s.NegativeHits }),
		counter("sojourn_cache_misses_total", "Reads that the store answered although they may come from memory.", func(s nearcache.Stats) uint64 { return s.Misses }),
		counter("sojourn_cache_evictions_total", "Sessions removed from memory to make room for others.", func(s nearcache.Stats) uint64 { return s.Evictions }),
		gauge("sojourn_cache_sessions", "Sessions in memory.", func(s nearcache.Stats) float64 { return float64(s.Entries) }),
		gauge("sojourn_cache_bytes", "Memory of the cache.", func(s nearcache.Stats) float64 { return float64(s.Bytes) }),
		gauge("sojourn_cache_live", "1 while the change feed is live and memory is used.", func(s nearcache.Stats) float64 {
			return oneIf(s.Live)
		}),
	}
}

// roomMetrics are the metrics of a file's disk space.
func roomMetrics(stats func() sqlitestore.Stats) []prometheus.Collector {
	gauge := func(o prometheus.GaugeOpts, value func(sqlitestore.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(o, func() float64 { return value(stats()) })
	}
	return []prometheus.Collector{
		gauge(prometheus.GaugeOpts{Name: "sojourn_store_nearly_full", Help: "1 while new anonymous sessions are refused for lack of room."},
			func(s sqlitestore.Stats) float64 { return oneIf(s.NearlyFull) }),
		gauge(prometheus.GaugeOpts{Name: "sojourn_store_full", Help: "1 while all new sessions are refused for lack of room."},
			func(s sqlitestore.Stats) float64 { return oneIf(s.Full) }),
		gauge(prometheus.GaugeOpts{Name: "sojourn_store_reserve_bytes", Help: "Bytes on the disk that are reserved for ending sessions. At 0 nothing else is written."},
			func(s sqlitestore.Stats) float64 { return float64(s.Reserve) }),
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
