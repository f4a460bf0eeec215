// Package events passes events of sessions to subscribers (as server-sent
// events), to webhooks, and to the audit log.
//
//	hub := events.New(events.Options{Audit: audit, Log: log})
//	err := hub.Configure(apps) // at the start, and again at each reload
//	engine, err := sojourn.New(st, sojourn.Options{App: "shop", OnEvent: hub.Observer("shop")})
//	err = hub.Stream(w, r, "shop", r.Header.Get("Last-Event-ID"), 0, true)
//	…
//	hub.EndStreams() // then http.Server.Shutdown and Engine.Close
//	hub.Close(ctx)
//
// Each process passes on the events of its own engines. If several processes
// share a store, a subscriber that wants all events must ask each of them.
package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// Options configure a Hub. With the zero value only subscribers get events.
type Options struct {
	// Audit gets one line of JSON for each event, in one Write. Default none.
	// OpenAudit opens a file for it.
	Audit io.Writer

	// Log gets failures of webhooks and of the audit log. Default none.
	Log *slog.Logger

	// Transport sends the webhooks. Default: a copy of http.DefaultTransport.
	Transport http.RoundTripper
}

// An App is an application and where its events go.
type App struct {
	Name     string
	Webhooks []Webhook
}

// A Hub passes on the events of all applications. Its methods may be called
// concurrently.
type Hub struct {
	audit  io.Writer
	log    *slog.Logger
	client *http.Client

	auditErrors atomic.Int64
	auditBroken atomic.Bool // the last write failed

	mu     sync.RWMutex // guards apps and closed
	apps   map[string]*app
	closed bool
}

type app struct {
	ring  *ring
	hooks *hooks
}

var (
	ErrNoApp          = errors.New("events: no such application")
	ErrTooManyStreams = errors.New("events: the application has as many subscribers as it may")
	ErrClosed         = errors.New("events: the server is shutting down")
)

// New returns a hub without applications.
func New(o Options) *Hub {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Hub{audit: o.Audit, log: o.Log, client: webhookClient(o.Transport), apps: map[string]*app{}}
}

// Configure sets the applications. If it finds mistakes, it reports all of them
// and changes nothing. An application that existed before keeps its events, its
// subscribers, and the messages that wait for webhooks with the same URL. If an
// application is gone, its subscribers are disconnected.
func (h *Hub) Configure(apps []App) error {
	var errs []error
	checked := make(map[string][]target, len(apps))
	for _, a := range apps {
		if _, twice := checked[a.Name]; twice {
			errs = append(errs, fmt.Errorf("events: application %q is there twice", a.Name))
		}
		targets, err := targets(a.Webhooks)
		if err != nil {
			errs = append(errs, fmt.Errorf("events: application %q: %w", a.Name, err))
		}
		checked[a.Name] = targets
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	for name, a := range h.apps {
		if _, still := checked[name]; !still {
			a.ring.close()
			a.hooks.configure(nil)
			delete(h.apps, name)
		}
	}
	for name, targets := range checked {
		a := h.apps[name]
		if a == nil {
			a = &app{newRing(name), newHooks(name, h.client, h.log)}
			h.apps[name] = a
		}
		a.hooks.configure(targets)
	}
	return nil
}

// Observer returns the Options.OnEvent for the engine of an application.
func (h *Hub) Observer(name string) func(sojourn.Event) {
	return func(e sojourn.Event) {
		if e.Lost > 0 {
			h.publish(v1.Event{Kind: v1.KindGap, Time: e.Time.UTC(), App: name, Lost: e.Lost, Detail: "the observer was too slow"})
		}
		h.publish(eventOf(e))
	}
}

// publish gives the event its ID and passes it on.
func (h *Hub) publish(e v1.Event) {
	h.mu.RLock()
	a := h.apps[e.App]
	h.mu.RUnlock()
	if a == nil { // a reload removed the application, but its engine still reports
		h.writeAudit(encode(&e))
		return
	}
	encoded := a.ring.add(&e)
	a.hooks.add(&e, encoded)
	h.writeAudit(encoded)
}

func (h *Hub) app(name string) (*app, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	if a := h.apps[name]; a != nil {
		return a, nil
	}
	return nil, ErrNoApp
}

// Find returns the last events of an application whose JSON contains the text,
// the newest first, and at most limit. An empty text finds every event that is
// kept. An unknown application has none. A stream after newest has the events that
// came later; newest is empty if there is no event yet.
func (h *Hub) Find(app, text string, limit int) (list []v1.Event, newest string) {
	a, err := h.app(app)
	if err != nil {
		return nil, ""
	}
	return a.ring.find(text, limit)
}

// EndStreams ends all streams, which would otherwise delay a shutdown for ever,
// and refuses new ones with ErrClosed. Webhooks and the audit log still get
// events.
func (h *Hub) EndStreams() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, a := range h.apps {
		a.ring.close()
	}
}

// Close ends the streams and sends the webhook messages that were not tried
// yet. It drops messages that failed before, and all others when ctx is done.
// It logs each dropped message and returns how many there were.
//
// The engines must be closed first: Close ignores later events. The caller
// closes the audit log.
func (h *Hub) Close(ctx context.Context) (left int64) {
	h.EndStreams()
	h.mu.Lock()
	apps := h.apps
	h.apps = nil
	h.mu.Unlock()

	var wg sync.WaitGroup
	var total atomic.Int64
	for _, a := range apps {
		wg.Go(func() { total.Add(a.hooks.close(ctx)) })
	}
	wg.Wait()
	h.client.CloseIdleConnections()
	return total.Load()
}
