package events

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	maxPending  = 10_000           // messages that wait for one webhook
	parallel    = 4                // requests to one webhook at a time
	sendTimeout = 20 * time.Second // of a request; the specification recommends 15 to 30
	retryFirst  = 5 * time.Second
	retryFactor = 4
	retryMost   = time.Hour
	giveUpAfter = 24 * time.Hour

	// A webhook that does not answer gets no message for a while.
	pauseFirst = time.Second
	pauseMost  = time.Minute
)

// The reasons why a message is dropped: a dead letter.
const (
	deadFull     = "queue_full"
	deadExpired  = "expired"  // not delivered for giveUpAfter
	deadGone     = "gone"     // the webhook answered 410 Gone
	deadRemoved  = "removed"  // the webhook is no longer in the configuration
	deadShutdown = "shutdown" // the process ended first
)

func webhookClient(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     t,
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the configuration says where users' data goes
	}
}

// hooks are the webhooks of one application.
type hooks struct {
	app    string
	client *http.Client
	log    *slog.Logger

	mu        sync.Mutex // guards all below, and the endpoints
	list      []*endpoint
	closed    bool
	delivered int64
	failed    int64 // attempts
	dead      map[string]int64
}

func newHooks(app string, client *http.Client, log *slog.Logger) *hooks {
	return &hooks{app: app, client: client, log: log, dead: map[string]int64{}}
}

// configure replaces the webhooks. A webhook with the same URL keeps its
// waiting messages.
func (hs *hooks) configure(targets []target) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	before := map[string]*endpoint{}
	for _, e := range hs.list {
		before[e.target.url] = e
	}
	hs.list = nil
	for _, t := range targets {
		e := before[t.url]
		delete(before, t.url)
		if e == nil {
			e = newEndpoint(hs)
		}
		e.target, e.gone = t, false
		hs.list = append(hs.list, e)
	}
	for _, e := range before {
		e.removed = true
		e.giveUp(deadRemoved)
		e.stop()
		e.signal()
	}
}

// add queues an event for every webhook that wants it. It never blocks.
func (hs *hooks) add(event *v1.Event, encoded []byte) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	var body []byte // the same for all webhooks
	for _, e := range hs.list {
		if !e.target.kinds[event.Kind] {
			continue
		}
		if body == nil {
			body = payload(event, encoded)
		}
		e.add(&message{id: event.ID, kind: event.Kind, body: body, made: time.Now()})
	}
}

// close sends the messages that were not tried yet, until ctx is done. It drops
// all others and returns how many it dropped.
func (hs *hooks) close(ctx context.Context) (left int64) {
	hs.mu.Lock()
	hs.closed = true
	list := hs.list
	for _, e := range list {
		e.signal()
	}
	hs.mu.Unlock()

	for _, e := range list {
		select {
		case <-e.idle:
		case <-ctx.Done():
			e.stop()
			e.signal()
			<-e.idle
		}
		e.stop()
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.dead[deadShutdown]
}

// A message is an event on its way to one webhook.
type message struct {
	id    string
	kind  string
	body  []byte
	made  time.Time
	due   time.Time // zero: at once
	tries int
}

// An endpoint is one webhook with its waiting messages. The mutex of its hooks
// guards its fields.
type endpoint struct {
	hooks  *hooks
	target target

	waiting  messages
	inFlight int
	failures int       // in a row; a failing webhook gets one message at a time, as a trial
	resumes  time.Time // the next trial
	full     bool      // this and failing are logged once
	failing  bool
	gone     bool // it answered 410 Gone and gets nothing until the next reload
	removed  bool

	wake chan struct{}      // capacity 1: run looks at the waiting messages again
	stop context.CancelFunc // cancels the requests in flight
	idle chan struct{}      // closed when run has returned
}

func newEndpoint(hs *hooks) *endpoint {
	ctx, stop := context.WithCancel(context.Background())
	e := &endpoint{hooks: hs, wake: make(chan struct{}, 1), stop: stop, idle: make(chan struct{})}
	go e.run(ctx)
	return e
}

func (e *endpoint) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// add queues a message. The mutex is held, as for giveUp and bury.
func (e *endpoint) add(m *message) {
	switch {
	case e.hooks.closed:
		e.bury(m, deadShutdown, nil)
	case e.gone:
		e.bury(m, deadGone, nil)
	case len(e.waiting)+e.inFlight >= maxPending:
		e.hooks.dead[deadFull]++
		if !e.full { // once, not ten thousand times
			e.full = true
			e.hooks.log.Warn("webhook messages are dropped: too many wait", "app", e.hooks.app, "webhook", e.target.name, "waiting", maxPending)
		}
	default:
		e.full = false
		heap.Push(&e.waiting, m)
		e.signal()
	}
}

// giveUp drops all waiting messages.
func (e *endpoint) giveUp(reason string) {
	for _, m := range e.waiting {
		e.bury(m, reason, nil)
	}
	e.waiting = nil
}

// bury counts a dropped message and logs its event, which the audit log has.
func (e *endpoint) bury(m *message, reason string, cause error) {
	e.hooks.dead[reason]++
	attrs := []any{"app", e.hooks.app, "webhook", e.target.name, "event", m.id, "kind", m.kind, "reason", reason, "tries", m.tries}
	if cause != nil {
		attrs = append(attrs, "error", cause)
	}
	e.hooks.log.Warn("webhook message dropped", attrs...)
}

// next returns the message to send now, or how long to wait for one. If over is
// true, no message will follow.
func (e *endpoint) next(ctx context.Context) (m *message, wait time.Duration, over bool) {
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	if ctx.Err() != nil { // removed, or out of time
		e.giveUp(deadShutdown)
	}
	if e.hooks.closed {
		// There is no time to wait for messages that failed before.
		for len(e.waiting) > 0 && e.waiting[0].tries > 0 {
			e.bury(heap.Pop(&e.waiting).(*message), deadShutdown, nil)
		}
	}
	switch {
	case len(e.waiting) == 0:
		return nil, time.Hour, (e.hooks.closed || e.removed) && e.inFlight == 0
	case e.inFlight >= parallel, e.failures > 0 && e.inFlight > 0:
		return nil, time.Hour, false
	}
	wait = time.Until(e.waiting[0].due)
	if !e.hooks.closed {
		wait = max(wait, time.Until(e.resumes))
	}
	if wait > 0 {
		return nil, wait, false
	}
	e.inFlight++
	return heap.Pop(&e.waiting).(*message), 0, false
}

// run sends messages until next says that it is over.
func (e *endpoint) run(ctx context.Context) {
	defer close(e.idle)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m, wait, over := e.next(ctx)
		switch {
		case over:
			return
		case m != nil:
			go e.deliver(ctx, m)
			continue
		}
		timer.Reset(wait)
		select {
		case <-e.wake:
		case <-timer.C:
		}
	}
}

func (e *endpoint) deliver(ctx context.Context, m *message) {
	answer, err := e.send(ctx, m)
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	defer e.signal()
	e.inFlight--
	m.tries++
	if down := answer.status == 0 || answer.status == http.StatusTooManyRequests || answer.status >= 500; err != nil && down {
		e.failures++
		e.resumes = time.Now().Add(max(overload.Backoff(e.failures, pauseFirst, pauseMost), answer.after))
	} else {
		e.failures, e.resumes = 0, time.Time{}
	}
	if err == nil {
		e.hooks.delivered++
		if e.failing {
			e.failing = false
			e.hooks.log.Info("webhook works again", "app", e.hooks.app, "webhook", e.target.name)
		}
		return
	}
	e.hooks.failed++
	if !e.failing {
		e.failing = true
		e.hooks.log.Warn("webhook fails; its messages are tried again", "app", e.hooks.app, "webhook", e.target.name, "event", m.id, "error", err)
	}
	m.due = time.Now().Add(max(backoff(m.tries), answer.after))
	switch {
	case e.removed:
		e.bury(m, deadRemoved, err)
	case e.hooks.closed:
		e.bury(m, deadShutdown, err)
	case answer.status == http.StatusGone:
		e.gone = true
		e.bury(m, deadGone, err)
		e.giveUp(deadGone)
	case e.gone: // another request had that answer
		e.bury(m, deadGone, err)
	case m.due.Sub(m.made) > giveUpAfter:
		e.bury(m, deadExpired, err)
	default:
		heap.Push(&e.waiting, m)
	}
}

// backoff returns how long to wait after so many tries. The time grows
// exponentially up to a limit. Half of it is random, so messages that failed
// together are not tried together again.
func backoff(tries int) time.Duration {
	d := retryFirst
	for i := 1; i < tries && d < retryMost; i++ {
		d *= retryFactor
	}
	d = min(d, retryMost)
	return d/2 + rand.N(d/2)
}

type answer struct {
	status int
	after  time.Duration // from Retry-After, at most retryMost
}

// send makes one attempt. Its errors do not show the URL, which may hold a
// password.
func (e *endpoint) send(ctx context.Context, m *message) (answer, error) {
	e.hooks.mu.Lock()
	t := e.target
	e.hooks.mu.Unlock()
	now := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(m.body))
	if err != nil {
		return answer{}, fmt.Errorf("events: make a request for %s", t.name)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sojournd")
	r.Header.Set("webhook-id", m.id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", sign(t.keys, m.id, now, m.body))
	res, err := e.hooks.client.Do(r)
	if err != nil {
		if u := new(url.Error); errors.As(err, &u) {
			err = u.Err
		}
		return answer{}, err
	}
	defer res.Body.Close()                        //nolint:errcheck // read only
	_, _ = io.CopyN(io.Discard, res.Body, 16<<10) // to reuse the connection
	a := answer{res.StatusCode, min(retryAfter(res.Header.Get("Retry-After"), now), retryMost)}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return a, fmt.Errorf("events: the webhook answered %s", res.Status)
	}
	return a, nil
}

// retryAfter parses a Retry-After header (RFC 9110, section 10.2.3). It returns
// 0 if there is none.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// messages is a heap, ordered by due time and then by age.
type messages []*message

func (q messages) Len() int { return len(q) }
func (q messages) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].made.Before(q[j].made)
}
func (q messages) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *messages) Push(m any)   { *q = append(*q, m.(*message)) }
func (q *messages) Pop() any {
	old := *q
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return m
}
