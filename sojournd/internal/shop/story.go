package shop

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/store"
)

// A Story adds a page to the shop, /story, which shows visitors what their own
// session does while they click. It is for the demo only: one of its buttons
// keeps a copy of the visitor's cookie in memory, to play a thief with it, and
// another changes the stored times of the session's secrets.
type Story struct {
	Store    store.Store                                // the engine's; nil if every session is in its cookie
	App      string                                     // the engine's
	Visitors bool                                       // visitors' sessions are in their cookies
	Events   func(session string, limit int) []v1.Event // the last events that mention an ID, newest first
}

const (
	// maxStages bounds the memory of the page. The oldest stage goes first.
	maxStages = 256

	// storyEvents is how many events the page shows.
	storyEvents = 12
)

// A story is what the page remembers of what its buttons did.
type story struct {
	*Story
	client *http.Client

	mu     sync.Mutex // guards all below, and the stages
	phones int        // that are signed in
	stages map[sojourn.ID]*stage
	order  []sojourn.ID // of stages, oldest first
	bursts map[string]*burst
}

// A stage is what the buttons did to one session.
type stage struct {
	Copy   []*http.Cookie // the thief's, the session's first; empty if there is none, or if it was given away
	Copied bool
	Bind   bool    // the visitor asked to bind the session to the browser
	Passes int     // of 15 minutes, since the copy was made
	Tries  []theft // what the thief got, oldest first
	Burst  *burstResult
	Others int // how many other browsers were signed out last; 0 means none yet
	Phone  phone

	pressed time.Time // when the other browsers were last signed out
}

func newStory(s *Story) *story {
	return &story{
		Story: s, stages: map[sojourn.ID]*stage{}, bursts: map[string]*burst{},
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, // a server that stops waits for no connection
	}
}

// change calls f with the stage of a session. It makes one if there is none.
func (s *story) change(id sojourn.ID, f func(*stage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stages[id]
	if st == nil {
		if len(s.order) == maxStages {
			delete(s.stages, s.order[0])
			s.order = slices.Delete(s.order, 0, 1)
		}
		st = &stage{}
		s.stages[id], s.order = st, append(s.order, id)
	}
	f(st)
}

// stage returns a copy of a session's stage.
func (s *story) stage(id sojourn.ID) stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stages[id]; st != nil {
		one := *st
		one.Tries = slices.Clone(st.Tries)
		return one
	}
	return stage{}
}

func (sh *Shop) storyRoutes(handle func(string, func(*visit) error, ...sojourn.Requirement)) {
	handle("GET /story", (*visit).storyPage)
	handle("GET /story/now", (*visit).storyNow)
	handle("GET /story/seen", (*visit).storySeen)
	handle("POST /story/burst", (*visit).storyBurst)
	handle("POST /story/burst/one", (*visit).storyBurstOne)
	handle("POST /story/pass", (*visit).storyPass, member)
	handle("POST /story/copy", (*visit).storyCopy, member)
	handle("POST /story/thief", (*visit).storyThief, member)
	handle("POST /story/bind", (*visit).storyBind, member)
	handle("POST /story/phone", (*visit).storyPhone, member)
	handle("POST /story/others", (*visit).storyOthers, careful)
}

// storyView is what the page shows.
type storyView struct {
	stage
	ID       string // of the session; empty: there is none
	State    string // a page that shows another state must be loaded again
	Ended    sojourn.Reason
	Info     sojourn.Info
	Sealed   bool                  // the session is in its cookie, or would be
	Everyone bool                  // all sessions are
	Secrets  []sojourn.SecretTimes // newest first
	Age      time.Duration         // of the newest
	Devices  int
	Events   []v1.Event
}

// storyPage is GET /story.
func (v *visit) storyPage() error {
	data, err := v.storyView()
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "story", data)
	return nil
}

// storyNow is GET /story/now: the page for its script, which takes the parts
// that have changed. It does not count as activity.
func (v *visit) storyNow() error {
	v.session.Passive()
	return v.storyPage()
}

func (v *visit) storyView() (*storyView, error) {
	ctx, s := v.r.Context(), v.shop.story
	if err := v.session.Commit(ctx); err != nil { // a rotation that is due comes before the look at the secrets
		return nil, err
	}
	data := &storyView{
		Ended: v.session.EndReason(), Info: v.session.Info(),
		Everyone: s.Store == nil, Sealed: s.Store == nil || s.Visitors && v.user.ID == "",
	}
	id := v.session.ID()
	if id.IsZero() && data.Ended != "" { // tell only a browser that held a secret of the session
		id = v.presentedID()
	}
	if id.IsZero() {
		data.State = "none"
		return data, nil
	}
	data.ID, data.State = id.String(), fmt.Sprint(id, v.user.ID, data.Ended, data.Info.Bound)
	data.stage = s.stage(id)
	data.Events = slices.DeleteFunc(s.Events(data.ID, storyEvents), func(e v1.Event) bool { return e.Session != data.ID }) // others may name it too
	if data.Ended != "" || data.Sealed {
		return data, nil
	}
	snap, err := v.shop.Sessions.Get(ctx, id)
	if errors.Is(err, sojourn.ErrNotFound) { // it has ended just now: the next look tells
		return data, nil
	} else if err != nil {
		return nil, err
	}
	slices.Reverse(snap.Secrets)
	data.Secrets = snap.Secrets
	data.Age = max(v.shop.Now().Sub(snap.Secrets[0].IssuedAt), 0).Truncate(time.Second)
	if v.user.ID != "" {
		list, _, err := v.shop.Sessions.List(ctx, v.user.ID, "", 100)
		if err != nil {
			return nil, err
		}
		data.Devices = len(list)
	}
	return data, nil
}

// Former are the secrets before the current one that still count, newest first.
func (d *storyView) Former() []sojourn.SecretTimes {
	if len(d.Secrets) == 0 {
		return nil
	}
	return d.Secrets[1:]
}

// Minutes is how much time has passed for the secrets since the copy was made.
func (d *storyView) Minutes() int { return 15 * d.Passes }

// LastTry is what the thief got last.
func (d *storyView) LastTry() *theft {
	if len(d.Tries) == 0 {
		return nil
	}
	return &d.Tries[len(d.Tries)-1]
}

// FromVisitor reports whether the session began before the sign-in.
func (d *storyView) FromVisitor() bool {
	return !d.Info.AuthenticatedAt.IsZero() && d.Info.AuthenticatedAt.Sub(d.Info.CreatedAt) > 0
}

// HasStory reports whether the shop has the page of its story.
func (v *view) HasStory() bool { return v.shop.story != nil }

// Clock writes the time of day, in UTC.
func (v *view) Clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// Duration writes a length of time in minutes and seconds.
func (v *view) Duration(d time.Duration) string {
	if d < time.Minute {
		return v.T("story.seconds", v.Seconds(d))
	}
	return v.T("story.minutes", v.Seconds(d)/60, v.Seconds(d)%60)
}

// Seconds is a length of time in seconds.
func (v *view) Seconds(d time.Duration) int { return int(d / time.Second) }

// Event says in a few words what happened.
func (v *view) Event(e v1.Event) string {
	text := v.T("story.event." + e.Kind)
	switch {
	case strings.HasPrefix(text, "story."):
		return v.T("story.event.other")
	case e.Reason != "":
		return text + " (" + e.Reason + ")"
	case e.Refusal != "":
		return text + " (" + e.Refusal + ")"
	}
	return text
}

// Millis is a duration in milliseconds, rounded up.
func (v *view) Millis(d time.Duration) int64 { return (d + time.Millisecond - 1).Milliseconds() }

// Over reports whether the time that a secret was good for is over.
func (v *view) Over(s sojourn.SecretTimes) bool {
	return !s.GoodUntil.IsZero() && !s.GoodUntil.After(v.shop.Now())
}

// idOf returns the ID in a token of a stored session.
func idOf(token string) (id sojourn.ID, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	return sojourn.ID(append(b, make([]byte, len(id))...)[:len(id)]), err == nil && len(token) == 64
}

// presentedID is the ID in the first session cookie of the request.
func (v *visit) presentedID() sojourn.ID {
	for _, c := range v.r.Cookies() {
		if id, ok := idOf(c.Value); ok {
			return id
		}
	}
	return sojourn.ID{}
}

// cookies are those of the session as the browser has them after this answer.
func (v *visit) cookies() []*http.Cookie { return cookiesOf(v.session, v.r.Cookies()) }

// cookiesOf returns the cookies of a session: first the one with the secret, which
// its answer sets or which was sent, then the proofs that were sent, if the session
// is bound. There are none without the first.
func cookiesOf(s *sojourn.Session, sent []*http.Cookie) (cookies []*http.Cookie) {
	var all []*http.Cookie
	for _, line := range s.SetCookies() {
		if c, err := http.ParseSetCookie(line); err == nil {
			all = append(all, c)
		}
	}
	for _, c := range append(all, sent...) {
		if id, ok := idOf(c.Value); ok && id == s.ID() {
			cookies = append(cookies, &http.Cookie{Name: c.Name, Value: c.Value})
			break
		}
	}
	for _, c := range sent {
		if len(cookies) > 0 && strings.HasPrefix(c.Name, cookies[0].Name+"-bound-") {
			cookies = append(cookies, &http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	return cookies
}

// Binds reports whether a page has the script that binds its session to the
// browser: the session is bound, or the visitor asked for it.
func (v *view) Binds() bool {
	if v.shop.story == nil || v.session == nil {
		return false
	}
	return v.session.RefusalReason() == sojourn.RefusedUnproven || v.session.Info().Bound || v.shop.story.stage(v.session.ID()).Bind
}
