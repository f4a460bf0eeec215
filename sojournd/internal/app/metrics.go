package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// metrics are the server's metrics for Prometheus. They observe the engines, and
// pass on what they see to the console's history.
type metrics struct {
	history *history.Recorder // nil: no console

	registry *prometheus.Registry
	handler  http.Handler
	backend  store.Store

	created  *prometheus.CounterVec
	logins   *prometheus.CounterVec
	barred   *prometheus.CounterVec
	rotated  *prometheus.CounterVec
	ended    *prometheus.CounterVec
	refused  *prometheus.CounterVec
	bound    *prometheus.CounterVec
	opens    *prometheus.CounterVec
	lost     prometheus.Counter
	checks   *prometheus.HistogramVec
	pages    *prometheus.HistogramVec
	requests *prometheus.HistogramVec
	calls    map[driver.Op]prometheus.Observer // of the store
	errors   *prometheus.CounterVec
}

// fast are the bounds of latencies, in seconds. Most are well below a
// millisecond.
var fast = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newMetrics(st *openedStore, engines func() map[string]*sojourn.Engine) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), backend: st.Store, calls: map[driver.Op]prometheus.Observer{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: fast}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.created = counter("sojourn_sessions_created_total", "Sessions created, by kind: logged_in for a login that began a session, else anonymous.", "app", "kind")
	m.logins = counter("sojourn_logins_total", "Logins and elevations.", "app", "kind")
	m.barred = counter("sojourn_logins_refused_total", "Logins that the store refused: limit, for a subject with as many sessions as it may have; barrier, for one whose sessions were ended meanwhile.", "app", "reason")
	m.rotated = counter("sojourn_rotations_total", "Secrets renewed.", "app")
	m.ended = counter("sojourn_sessions_ended_total", "Sessions ended, by reason: logout, revoked, idle, absolute, evicted, theft; all for the end of all.", "app", "reason")
	m.refused = counter("sojourn_tokens_refused_total", "Tokens refused: malformed, unknown, ended, former, ambiguous, no_key; unproven once a minute and session; throttled once a minute and address. And bound: keys refused, because the session has one.", "app", "refusal")
	m.bound = counter("sojourn_bound_requests_total", "Requests of browsers that register a session's key, or refresh its proof. 403 carries a challenge.", "app", "request", "status")
	m.opens = counter("sojourn_sealed_opens_total", "Sealed sessions that were opened: with the first key, with an old_key, or not: no_key, malformed, unknown, ended.", "app", "result")
	m.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "sojourn_events_lost_total", Help: "Events that these counters and the subscribers missed because they came too fast."})
	m.checks = histogram("sojourn_check_duration_seconds", "Time to answer a proxy's check.", "app", "status")
	m.pages = histogram("sojourn_page_duration_seconds", "Time to answer a browser's request for a page.", "app", "status")
	m.requests = histogram("sojourn_api_request_duration_seconds", "Time to answer a request of an application.", "route", "status")
	calls := histogram("sojourn_store_duration_seconds", "Time that the store took for a call, without reads from memory.", "call")
	m.errors = counter("sojourn_store_errors_total", "Calls that the store could not answer.", "call")
	for op, name := range storeCalls {
		m.calls[op] = calls.WithLabelValues(name)
		m.errors.WithLabelValues(name)
	}
	m.registry.MustRegister(m.lost, &live{engines: engines}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if st.cache != nil {
		m.registry.MustRegister(cacheMetrics(st.cache.Stats)...)
	}
	if st.clockOffset != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sojourn_store_clock_offset_seconds", Help: "The store's clock less this machine's."},
			func() float64 { return st.clockOffset().Seconds() }))
	}
	if st.room != nil {
		m.registry.MustRegister(roomMetrics(st.room)...)
	}
	if st.warnings != nil {
		m.registry.MustRegister(warned(st.warnings))
	}
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// begin sets an application's counters to 0. An alert on an increase needs a
// first value.
func (m *metrics) begin(app string) {
	for _, kind := range []string{loggedIn, anonymous} {
		m.created.WithLabelValues(app, kind)
	}
	for _, reason := range refusedLogins {
		m.barred.WithLabelValues(app, reason)
	}
	m.rotated.WithLabelValues(app)
	for _, kind := range []sojourn.EventKind{sojourn.EventAuthenticated, sojourn.EventElevated} {
		m.logins.WithLabelValues(app, string(kind))
	}
	for _, reason := range []sojourn.Reason{
		sojourn.ReasonLogout, sojourn.ReasonRevoked, sojourn.ReasonIdle, sojourn.ReasonAbsolute, sojourn.ReasonEvicted, sojourn.ReasonTheft, "all",
	} {
		m.ended.WithLabelValues(app, string(reason))
	}
	for _, refusal := range []sojourn.Refusal{
		sojourn.RefusedMalformed, sojourn.RefusedUnknown, sojourn.RefusedEnded, sojourn.RefusedFormer, sojourn.RefusedAmbiguous, sojourn.RefusedNoKey, sojourn.RefusedUnproven, sojourn.RefusedBound, "throttled",
	} {
		m.refused.WithLabelValues(app, string(refusal))
	}
	for _, request := range boundRequests {
		m.bound.WithLabelValues(app, request, "200")
	}
}

// boundRequests are what browsers ask about bound sessions, by the page.
var boundRequests = map[string]string{"bound/register": "register", "bound/refresh": "refresh"}

// The kinds of sessions, as labels.
const loggedIn, anonymous = "logged_in", "anonymous"

func kindOf(subject string) string {
	if subject == "" {
		return anonymous
	}
	return loggedIn
}

// opened returns a function that counts an application's openings of sealed
// sessions.
func (m *metrics) opened(app string) func(refusal sojourn.Refusal, oldKey bool) {
	count := func(result sojourn.Refusal) prometheus.Counter { return m.opens.WithLabelValues(app, string(result)) }
	first, old := count("opened"), count("old_key")
	for _, refusal := range []sojourn.Refusal{sojourn.RefusedNoKey, sojourn.RefusedMalformed, sojourn.RefusedUnknown, sojourn.RefusedEnded} {
		count(refusal) // begins at zero
	}
	return func(refusal sojourn.Refusal, oldKey bool) {
		switch {
		case refusal != "":
			count(refusal).Inc()
		case oldKey:
			old.Inc()
		default:
			first.Inc()
		}
	}
}

// count counts an engine's event.
func (m *metrics) count(e sojourn.Event) {
	switch e.Kind {
	case sojourn.EventCreated:
		m.created.WithLabelValues(e.App, kindOf(e.Subject)).Inc()
	case sojourn.EventAuthenticated, sojourn.EventElevated:
		m.logins.WithLabelValues(e.App, string(e.Kind)).Inc()
	case sojourn.EventRotated:
		m.rotated.WithLabelValues(e.App).Inc()
	case sojourn.EventEnded:
		m.ended.WithLabelValues(e.App, string(e.Reason)).Inc()
	case sojourn.EventEndedAll:
		m.ended.WithLabelValues(e.App, "all").Inc()
	case sojourn.EventRefused:
		m.refused.WithLabelValues(e.App, string(e.Refusal)).Inc()
	case sojourn.EventThrottled:
		m.refused.WithLabelValues(e.App, "throttled").Inc()
	}
	m.lost.Add(float64(e.Lost))
	if m.history != nil {
		m.history.Observe(e)
	}
}

func (m *metrics) check(app string, status int, took time.Duration) {
	m.checks.WithLabelValues(app, statusText(status)).Observe(took.Seconds())
	if m.history != nil {
		m.history.Checked(app, took)
	}
}

func (m *metrics) page(app, page string, status int, took time.Duration) {
	m.pages.WithLabelValues(app, statusText(status)).Observe(took.Seconds())
	if request := boundRequests[page]; request != "" {
		m.bound.WithLabelValues(app, request, statusText(status)).Inc()
	}
}

func (m *metrics) request(route string, status int, took time.Duration) {
	if route == "GET /v1/events" {
		return // its duration says nothing
	}
	m.requests.WithLabelValues(route, statusText(status)).Observe(took.Seconds())
}

func statusText(status int) string {
	if status == http.StatusOK { // nearly always
		return "200"
	}
	return strconv.Itoa(status)
}

// ping asks the store, not the cache, for a session that does not exist.
func (m *metrics) ping(ctx context.Context) error {
	err := m.backend.Get(ctx, "ready", store.ID{}, true, new(store.Record))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) {
		return nil
	}
	return err
}

// live counts the sessions when Prometheus asks. Some stores read all sessions
// for that, so live repeats a result for countPause times as long as the count
// took.
type live struct {
	engines func() map[string]*sojourn.Engine

	mu    sync.Mutex // guards found and due
	found []prometheus.Metric
	due   time.Time // of the next count
}

const countPause = 50

var sessionsDesc = prometheus.NewDesc("sojourn_sessions", "Live sessions. Those that expired less than a minute ago may be counted too.", []string{"app", "kind"}, nil)

func (l *live) Describe(out chan<- *prometheus.Desc) { out <- sessionsDesc }

func (l *live) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if began := time.Now(); began.After(l.due) {
		l.count()
		now := time.Now()
		l.due = now.Add(countPause * now.Sub(began))
	}
	for _, m := range l.found {
		out <- m
	}
}

func (l *live) count() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l.found = nil
	for name, e := range l.engines() {
		all, users, err := e.Count(ctx)
		if err != nil {
			continue // a gap in the graph; the store's errors are counted
		}
		l.found = append(l.found,
			prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(users), name, loggedIn),
			prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(all-users), name, anonymous))
	}
}

func levelOf(c *config.Config) slog.Level { return slog.Level(c.Log.Level) }
