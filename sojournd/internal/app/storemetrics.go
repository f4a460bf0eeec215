package app

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// storeCalls are the names that metrics have for a store's methods.
var storeCalls = map[driver.Op]string{
	driver.Create: "create", driver.Get: "get", driver.Update: "update", driver.Touch: "touch", driver.Confirm: "confirm",
	driver.End: "end", driver.EndSubject: "end_subject", driver.EndAll: "end_all",
	driver.List: "list", driver.Search: "search", driver.Count: "count", driver.Barrier: "barrier", driver.Sweep: "sweep",
}

// store returns the store for an engine. It measures each call, except reads that
// were answered from memory.
func (m *metrics) store() store.Store {
	return driver.Intercept(m.backend, func(ctx context.Context, c driver.Call) driver.Result {
		if m.calls[c.Op] == nil {
			return c.Do(ctx)
		}
		began := time.Now()
		r := c.Do(ctx)
		if c.Op == driver.Get && r.Err == nil && c.Record.Cached {
			return r
		}
		m.called(&c, time.Since(began), r.Err)
		return r
	})
}

func (m *metrics) called(c *driver.Call, took time.Duration, err error) {
	m.calls[c.Op].Observe(took.Seconds())
	reason := refusedLogin(err)
	if reason != "" {
		m.barred.WithLabelValues(c.App, reason).Inc()
	}
	broken := failed(err)
	if broken {
		m.errors.WithLabelValues(storeCalls[c.Op]).Inc()
	}
	if m.history == nil {
		return
	}
	m.history.Called(storeCalls[c.Op], took, !broken)
	if reason != "" {
		by := sojourn.Client{UserAgent: c.Record.LastClient.UserAgent, IP: c.Record.LastClient.IP}
		m.history.Barred(c.App, reason, c.Record.Subject, by)
	}
}

// newHistory returns the console's history, which is not started yet.
func newHistory(st *openedStore, engines func() map[string]*sojourn.Engine) *history.Recorder {
	return history.New(history.Options{
		Count: func(ctx context.Context, app string) (sessions, loggedIn int64, err error) {
			e := engines()[app]
			if e == nil {
				return 0, 0, sojourn.ErrClosed
			}
			return e.Count(ctx)
		},
		Health: func() (h history.Health) {
			if st.cache != nil {
				s := st.cache.Stats()
				h.Cache, h.Live, h.Hits, h.Misses = true, s.Live, s.Hits, s.Misses
			}
			if st.warnings != nil {
				for _, w := range st.warnings() {
					h.Warnings = append(h.Warnings, w.Text)
				}
			}
			return h
		},
	})
}

// refusedLogins are the reasons why a store refuses a login.
var refusedLogins = []string{"limit", "barrier"}

// refusedLogin returns why the store refused a login, or an empty string.
func refusedLogin(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, store.ErrLimit):
		return refusedLogins[0]
	case errors.Is(err, store.ErrBarrier):
		return refusedLogins[1]
	}
	return ""
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

// warned reports each of the store's warnings as a series with the value 1.
type warned func() []store.Warning

var warningsDesc = prometheus.NewDesc("sojourn_store_warnings", "1 for each thing that is wrong with the store or its server now; /readyz says more.", []string{"code"}, nil)

func (w warned) Describe(out chan<- *prometheus.Desc) { out <- warningsDesc }

func (w warned) Collect(out chan<- prometheus.Metric) {
	for _, one := range w() {
		out <- prometheus.MustNewConstMetric(warningsDesc, prometheus.GaugeValue, 1, one.Code)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
