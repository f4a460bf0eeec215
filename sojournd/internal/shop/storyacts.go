package shop

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// The buttons of the page /story. What they show really happens: they send
// requests to this server, over the network.

// send sends a request to this server, at the address where the current request
// arrived.
func (v *visit) send(ctx context.Context, method, path string, cookies []*http.Cookie, agent string, header ...string) (*http.Response, error) {
	at, ok := v.r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || len(cookies) == 0 {
		return nil, errors.New("shop: the story has no server or no cookie to ask with")
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+at.String()+path, nil)
	if err != nil {
		return nil, err
	}
	r.Host = v.r.Host
	for _, c := range cookies {
		r.AddCookie(c)
	}
	r.Header.Set("User-Agent", agent)
	r.Header.Set("Accept", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.shop.story.client.Do(r)
}

// ask sends a request, and returns the answer's status and body.
func (v *visit) ask(ctx context.Context, method, path string, cookies []*http.Cookie, agent string, header ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := v.send(ctx, method, path, cookies, agent, header...)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxForm))
	return res.StatusCode, body, err
}

// storySeen is GET /story/seen. A request to it counts as one that the browser
// sends, but brings no new secret, since the browser doesn't get the answer.
func (v *visit) storySeen() error {
	v.session.KeepSecret()
	v.session.Passive()
	v.writeJSON(http.StatusOK, struct{}{})
	return nil
}

// burstSize is how many requests a burst sends at once.
const burstSize = 64

// maxBursts bounds the bursts that run at the same time.
const maxBursts = 4

// burstKey counts the updates of bursts.
var burstKey = sojourn.NewKey[int]("story-burst")

// A burst is a number of parallel requests that change one value of a session.
type burst struct {
	session sojourn.ID
	present atomic.Int32
	all     chan struct{} // closed when all requests have read the session
}

type burstResult struct {
	Sent, Succeeded, Before, After int
	Took                           time.Duration
}

// Lost is how many updates the session doesn't have, though the server said
// that it does.
func (r *burstResult) Lost() int { return r.Succeeded - (r.After - r.Before) }

// storyBurst is POST /story/burst. It sends the requests and counts.
func (v *visit) storyBurst() error {
	ctx, s := v.r.Context(), v.shop.story
	if s.Store == nil || s.Visitors && v.user.ID == "" {
		return errNotFound // each would answer with a cookie of its own
	}
	if err := v.session.Start(); err != nil {
		return err
	}
	v.session.KeepSecret()
	if err := v.session.Commit(ctx); err != nil {
		return err
	}
	id, cookies := v.session.ID(), v.cookies()
	name := rand.Text()
	if !s.begin(name, &burst{session: id, all: make(chan struct{})}) {
		return errBusy
	}
	defer s.end(name)

	result := burstResult{Sent: burstSize}
	var err error
	if result.Before, err = v.burstCount(ctx, id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // the others must not wait for ever for one that can't come
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	var succeeded atomic.Int32
	for range burstSize {
		wg.Go(func() {
			status, _, err := v.ask(ctx, http.MethodPost, "/story/burst/one", cookies, v.r.UserAgent(), "Story-Burst", name)
			if err == nil && status == http.StatusOK {
				succeeded.Add(1)
			}
		})
	}
	wg.Wait()
	result.Took, result.Succeeded = time.Since(began), int(succeeded.Load())
	if result.After, err = v.burstCount(ctx, id); err != nil {
		return err
	}
	s.change(id, func(st *stage) { st.Burst = &result })
	return v.done(result, "/story#burst")
}

func (s *story) begin(name string, b *burst) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.bursts {
		if other.session == b.session || len(s.bursts) >= maxBursts {
			return false
		}
	}
	s.bursts[name] = b
	return true
}

func (s *story) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bursts, name)
}

// burstCount reads the count of bursts from the store.
func (v *visit) burstCount(ctx context.Context, id sojourn.ID) (n int, err error) {
	snap, err := v.shop.Sessions.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	values := map[string]json.RawMessage{}
	if err := json.Unmarshal(snap.Values, &values); err != nil {
		return 0, err
	}
	if counted := values[burstKey.Name()]; counted != nil {
		err = json.Unmarshal(counted, &n)
	}
	return n, err
}

// storyBurstOne is POST /story/burst/one: one request of a burst. It has read the
// session, and waits until all others have read it too. Then it writes.
func (v *visit) storyBurstOne() error {
	s := v.shop.story
	s.mu.Lock()
	b := s.bursts[v.r.Header.Get("Story-Burst")]
	s.mu.Unlock()
	if b == nil || b.session != v.session.ID() {
		return errNotFound
	}
	if b.present.Add(1) == burstSize {
		close(b.all)
	}
	select {
	case <-b.all:
	case <-v.r.Context().Done():
		return errBusy
	}
	v.session.KeepSecret()
	v.session.Passive()
	if err := burstKey.Update(v.session, func(n *int) error { *n++; return nil }); err != nil {
		return err
	}
	if err := v.session.Commit(v.r.Context()); err != nil {
		return err
	}
	v.writeJSON(http.StatusOK, struct{}{})
	return nil
}

// storyPass is POST /story/pass. For the secrets of this session, 15 minutes
// pass. In the middle the browser's cookie is used, as it is in 15 minutes of
// shopping: so a new secret is confirmed, and the former one's grace ends.
func (v *visit) storyPass() error {
	v.session.KeepSecret()
	ctx, s := v.r.Context(), v.shop.story
	if s.Store == nil {
		return errNotFound
	}
	id, cookies := v.session.ID(), v.cookies()
	for _, d := range []time.Duration{2 * time.Minute, 13 * time.Minute} {
		if _, _, err := v.ask(ctx, http.MethodGet, "/story/seen", cookies, v.r.UserAgent()); err != nil {
			return err
		}
		if err := v.shop.Sessions.Flush(ctx); err != nil { // what that request tells about the secret is written later
			return err
		}
		if err := s.pass(ctx, id, d, v.shop.Now()); err != nil {
			return err
		}
	}
	s.change(id, func(st *stage) { st.Passes++ })
	return v.done(struct{}{}, "/story#secret")
}

// pass moves the times of a session's secrets into the past.
func (s *story) pass(ctx context.Context, id sojourn.ID, d time.Duration, now time.Time) error {
	back := func(times ...*store.Time) {
		for _, t := range times {
			if *t != 0 {
				*t = t.Add(-d)
			}
		}
	}
	for {
		var r store.Record
		if err := s.Store.Get(ctx, s.App, id, true, &r); err != nil {
			return err
		}
		back(&r.SpentTill)
		secrets := append([]*store.Secret{&r.Secret}, pointers(r.Good)...)
		for _, one := range secrets {
			back(&one.IssuedAt, &one.FirstSeenAt, &one.ConfirmedAt, &one.Until)
		}
		for _, spent := range pointers(r.Spent) {
			back(&spent.Until)
		}
		_, err := s.Store.Update(ctx, s.App, &r, store.UpdateOptions{Now: store.TimeOf(now)})
		if !errors.Is(err, store.ErrConflict) { // otherwise a request was faster
			return err
		}
	}
}

func pointers[T any](list []T) (all []*T) {
	for i := range list {
		all = append(all, &list[i])
	}
	return all
}

// A theft is what a thief gets for a copy of a cookie.
type theft struct {
	At      time.Time
	Subject string // whom the server took the thief for; empty: for nobody
}

// thief is the browser of the thief.
const thief = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:150.0) Gecko/20100101 Firefox/150.0"

// storyCopy is POST /story/copy. It keeps the cookies of this request for the
// thief, in memory alone.
func (v *visit) storyCopy() error {
	v.session.KeepSecret()
	cookies := v.cookies()
	if len(cookies) == 0 {
		return errNotFound
	}
	v.shop.story.change(v.session.ID(), func(st *stage) { st.Copy, st.Copied, st.Passes, st.Tries = cookies, true, 0, nil })
	return v.done(struct{}{}, v.theft())
}

// storyThief is POST /story/thief. It asks the server, with the copy, who is
// signed in. After an answer of "nobody" the copy is forgotten. When 15 minutes
// have passed, the thief's browser has dropped the proofs of a bound session, as
// each browser does at the end of a cookie's life.
func (v *visit) storyThief() error {
	v.session.KeepSecret()
	s, id := v.shop.story, v.session.ID()
	st := s.stage(id)
	copied := st.Copy
	if len(copied) == 0 {
		return errNotFound
	}
	if st.Passes > 0 {
		copied = copied[:1]
	}
	_, body, err := v.ask(v.r.Context(), http.MethodGet, "/me.json", copied, thief)
	if err != nil {
		return err
	}
	var who identity
	if err := json.Unmarshal(body, &who); err != nil {
		return err
	}
	s.change(id, func(st *stage) {
		st.Tries = append(st.Tries, theft{v.shop.Now(), who.Subject})
		st.Tries = st.Tries[max(len(st.Tries)-5, 0):]
		if who.Subject == "" {
			st.Copy = nil
		}
	})
	return v.done(who, v.theft())
}

// theft is the address of the part of the page that plays the thief.
func (v *visit) theft() string {
	if v.session.Info().Bound {
		return "/story#bound"
	}
	return "/story#theft"
}

// storyBind is POST /story/bind. From now on the pages have the script that binds
// the session.
func (v *visit) storyBind() error {
	v.shop.story.change(v.session.ID(), func(st *stage) { st.Bind, st.Copy, st.Passes, st.Tries = true, nil, 0, nil })
	return v.done(struct{}{}, "/story#bound")
}

// storyOthers is POST /story/others. It signs the user's other browsers out.
func (v *visit) storyOthers() error {
	if v.shop.story.Store == nil {
		return errNotFound
	}
	v.shop.story.change(v.session.ID(), func(st *stage) { st.pressed = time.Now() })
	n, err := v.shop.Sessions.EndSubject(v.r.Context(), v.user.ID, v.session.ID())
	if err != nil {
		return err
	}
	v.shop.story.change(v.session.ID(), func(st *stage) { st.Others = n })
	return v.done(map[string]int{"ended": n}, "/story#others")
}
