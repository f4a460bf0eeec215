// Package console is the web console for operators. They find sessions, look at
// them and end them.
//
//	c := console.New(console.Options{Passwords: hasher, Events: hub, Audit: write})
//	c.Set(setup) // at the start, and again at each reload
//	err := http.ListenAndServe("127.0.0.1:7083", c)
//
// Operators sign in with sessions of an engine of their own. Every request reads
// that session strictly, and decides by the operator's roles in the present
// Setup. Each page works without scripts.
package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
)

// Options are the parts of a console that a reload doesn't change.
type Options struct {
	Passwords *password.Hasher  // required
	Events    Events            // required
	History   *history.Recorder // required
	Audit     func(Operation)   // gets what operators do; default none

	// Once is a code that signs Setup's operator OnceAs in, once: GET
	// /sign-in?once=CODE. Default none.
	Once, OnceAs string

	Node string           // the node's name on the pages; default the machine's
	Log  *slog.Logger     // gets internal errors; default slog.Default()
	Now  func() time.Time // default time.Now
}

// Events are past events of an application on this node.
type Events interface {
	// Find returns the last events whose JSON contains the text, the newest first,
	// and at most limit. An empty text finds every event. Those that come later
	// are in a stream after the ID newest, which is empty before the first event.
	Find(app, text string, limit int) (list []v1.Event, newest string)

	// Stream answers with server-sent events, each in one Write. It begins after
	// the event with the ID lastID, or, if that is empty, with the last events.
	// With follow it goes on with new events.
	Stream(w http.ResponseWriter, r *http.Request, app, lastID string, last int, follow bool) error
}

// An Operation is something that an operator did, or tried to do.
type Operation struct {
	Operator string
	App      string
	Action   string // "sign_in", "show_values", "end", "end_subject", "end_others", "refused"
	Target   string // the ID of a session, a subject, or the path of a refused request
	Reason   string // in the operator's words
	Result   string // "ok", or why not
	IP       string
}

// A Setup is what a reload changes.
type Setup struct {
	Sessions  *sojourn.Engine // the operators' own, with AnswerError as OnError
	Operators []Operator
	Apps      []Application
}

// An Application is one whose sessions the console shows.
type Application struct {
	Name        string
	Sessions    *sojourn.Engine
	MaxSessions int // of a subject; 0 or less: no limit

	VisitorsSealed bool // visitors' sessions are in their cookies, so no list has them
}

// An Operator is a person who may sign in.
type Operator struct {
	Name  string
	Hash  string          // argon2id, as a PHC string
	Roles map[string]Role // by application; "*" is every application that is not named
}

// A Role says what an operator may do with an application.
type Role int

const (
	None Role = iota
	Look      // find sessions and look at them
	End       // end them, too
)

func (o *Operator) role(app string) Role {
	if role, ok := o.Roles[app]; ok {
		return role
	}
	return o.Roles["*"]
}

// fingerprint changes with the operator's password. The operator's sessions keep
// it, so a new password ends them.
func (o *Operator) fingerprint() string {
	sum := sha256.Sum256([]byte(o.Hash))
	return hex.EncodeToString(sum[:16])
}

// A Console is the handler of the whole site. Its methods may be called
// concurrently.
type Console struct {
	Options
	attempts password.Attempts
	setup    atomic.Pointer[setup]

	mu   sync.Mutex // guards once
	once string
}

type setup struct {
	Setup
	handler  http.Handler
	replaced context.Context // done when a reload has replaced the setup
	replace  context.CancelFunc
}

// New returns a console without applications and operators.
func New(o Options) *Console {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Node == "" {
		o.Node, _ = os.Hostname() // no page depends on it
	}
	if o.Audit == nil {
		o.Audit = func(Operation) {}
	}
	return &Console{Options: o, once: o.Once}
}

// Set replaces the setup. It holds for requests that begin later, and ends the
// streams of earlier ones.
func (c *Console) Set(s Setup) {
	next := &setup{Setup: s}
	next.replaced, next.replace = context.WithCancel(context.Background())
	next.handler = s.Sessions.Handler(c.routes(next))
	if old := c.setup.Swap(next); old != nil {
		old.replace()
	}
}

// ServeHTTP answers a request. The engines of the present Setup must stay open
// until it returns.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	c.setup.Load().handler.ServeHTTP(w, r)
}

// secure sets headers that forbid what the pages don't need: inline scripts and
// styles, frames, other hosts, and copies in caches.
func secure(h http.Header) {
	webui.Restrict(h)
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

func (c *Console) routes(s *setup) http.Handler {
	mux := http.NewServeMux()
	public := func(pattern string, h func(*visit) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { c.serve(s, w, r, h) })
	}
	// handle wraps routes of operators. Those of an application need a role there.
	handle := func(pattern string, role Role, need sojourn.Requirement, h func(*visit) error) {
		public(pattern, func(v *visit) error {
			if err := v.require(need, role); err != nil {
				return err
			}
			return h(v)
		})
	}
	public("GET /sign-in", (*visit).signInPage)
	public("POST /sign-in", (*visit).signIn)
	public("POST /sign-out", (*visit).signOut)
	handle("GET /confirm", None, member, (*visit).confirmPage)
	handle("POST /confirm", None, member, (*visit).confirm)

	handle("GET /{$}", None, member, (*visit).overviewPage)
	handle("GET /figures", None, member, (*visit).overviewLive)
	handle("GET /alerts", None, member, (*visit).alertsPage)
	handle("GET /apps/{app}/events", Look, member, (*visit).eventsPage)
	handle("GET /apps/{app}/events.jsonl", Look, member, (*visit).eventsFile)
	handle("GET /apps/{app}/events/stream", Look, member, (*visit).eventStream)
	handle("GET /find", None, member, (*visit).find)
	handle("GET /apps/{app}/sessions", Look, member, (*visit).sessionsPage)
	handle("GET /apps/{app}/sessions/{id}", Look, member, (*visit).sessionPage)
	handle("POST /apps/{app}/sessions/{id}/values", Look, member, (*visit).showValues)
	handle("POST /apps/{app}/sessions/{id}/end", End, member, (*visit).endSession)
	handle("GET /apps/{app}/subject", Look, member, (*visit).subjectPage)
	handle("GET /apps/{app}/subject/end", End, careful, (*visit).endSubjectPage)
	handle("POST /apps/{app}/subject/end", End, careful, (*visit).endSubject)

	mux.Handle("GET /static/", static)
	public("/", func(*visit) error { return errNoPage })
	return mux
}

// takeOnce reports whether a code is the one that signs in once, and uses it up.
func (c *Console) takeOnce(code string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.once == "" || subtle.ConstantTimeCompare([]byte(code), []byte(c.once)) != 1 {
		return false
	}
	c.once = ""
	return true
}
