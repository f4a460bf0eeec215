package events

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	streamsDesc     = desc("sojourn_event_streams", "Subscribers to events now.", "app")
	eventsDesc      = desc("sojourn_events_total", "Events passed on.", "app")
	gapsDesc        = desc("sojourn_event_gaps_total", "Gaps that subscribers got because they were too slow or away for too long.", "app")
	pendingDesc     = desc("sojourn_webhook_pending", "Webhook messages not delivered yet.", "app")
	attemptsDesc    = desc("sojourn_webhook_attempts_total", "Attempts to deliver a webhook message.", "app", "outcome")
	deadDesc        = desc("sojourn_webhook_dead_letters_total", "Webhook messages that were dropped.", "app", "reason")
	auditErrorsDesc = desc("sojourn_audit_errors_total", "Lines missing from the audit log.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (h *Hub) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{streamsDesc, eventsDesc, gapsDesc, pendingDesc, attemptsDesc, deadDesc, auditErrorsDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (h *Hub) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	h.mu.RLock()
	apps := maps.Clone(h.apps)
	h.mu.RUnlock()
	for name, a := range apps {
		a.ring.mu.Lock()
		streams, events, gaps := a.ring.streams, int64(a.ring.next-1), a.ring.gaps
		a.ring.mu.Unlock()
		gauge(streamsDesc, streams, name)
		counter(eventsDesc, events, name)
		counter(gapsDesc, gaps, name)

		a.hooks.mu.Lock()
		pending, delivered, failed, dead := 0, a.hooks.delivered, a.hooks.failed, maps.Clone(a.hooks.dead)
		for _, e := range a.hooks.list {
			pending += len(e.waiting) + e.inFlight
		}
		a.hooks.mu.Unlock()
		gauge(pendingDesc, pending, name)
		counter(attemptsDesc, delivered, name, "delivered")
		counter(attemptsDesc, failed, name, "failed")
		for _, reason := range []string{deadFull, deadExpired, deadGone, deadRemoved, deadShutdown} {
			counter(deadDesc, dead[reason], name, reason) // also 0: an alert on an increase needs a first value
		}
	}
	counter(auditErrorsDesc, h.auditErrors.Load())
}
