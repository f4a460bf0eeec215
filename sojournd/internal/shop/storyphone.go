package shop

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A phone is another browser of the user, which the page /story plays: it is
// signed in, and its page of the shop is open.
type phone struct {
	In    time.Time     // when it signed in; zero: there is no phone
	Out   time.Time     // when its page heard that it was signed out; zero: not yet
	After time.Duration // from the press of the page's button until then; 0: something else signed it out
}

// SignedIn reports whether the phone is signed in.
func (p *phone) SignedIn() bool { return !p.In.IsZero() && p.Out.IsZero() }

const (
	// maxPhones bounds the phones that are signed in at the same time.
	maxPhones = 32

	// phoneLife is how long a phone stays signed in if nobody signs it out.
	phoneLife = 30 * time.Minute

	phoneAgent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1"
)

// storyPhone is POST /story/phone. It signs the user in on a phone, and opens the
// stream that tells a page when its session ends, as the phone's browser would.
func (v *visit) storyPhone() error {
	v.session.KeepSecret()
	s, id := v.shop.story, v.session.ID()
	if s.Store == nil {
		return errNotFound
	}
	if !s.takePhone(id, v.shop.Now()) {
		return errBusy
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), phoneLife+time.Minute)
	stream, err := v.openPhone(ctx)
	if err != nil {
		cancel()
		s.leavePhone(id, v.shop.Now(), false)
		return err
	}
	go func() {
		defer cancel()
		s.leavePhone(id, v.shop.Now(), hears(stream, "signed-out"))
		_ = stream.Close()
	}()
	return v.done(struct{}{}, "/story#others")
}

// openPhone returns the stream of the phone's page.
func (v *visit) openPhone(ctx context.Context) (io.ReadCloser, error) {
	phone := v.shop.Sessions.Begin(ctx, sojourn.Request{Client: sojourn.Client{UserAgent: phoneAgent, IP: v.shop.Sessions.RequestFrom(v.r).Client.IP}})
	defer phone.Finish()
	if err := phone.Login(v.user.ID, sojourn.AMR("pwd"), sojourn.WithLifetime(sojourn.Lifetime{Idle: phoneLife, Absolute: phoneLife})); err != nil {
		return nil, err
	}
	if err := phone.Commit(ctx); err != nil {
		return nil, err
	}
	res, err := v.send(ctx, http.MethodGet, "/live", cookiesOf(phone, nil), phoneAgent)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, errBusy // something has ended the session already
	}
	return res.Body, nil
}

// hears reads a stream of events until one of a kind comes. It reports whether one
// came.
func hears(stream io.Reader, kind string) bool {
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if lines.Text() == "event: "+kind {
			return true
		}
	}
	return false
}

// takePhone reports whether a session may have a phone now.
func (s *story) takePhone(id sojourn.ID, now time.Time) (ok bool) {
	s.change(id, func(st *stage) {
		if ok = s.phones < maxPhones && !st.Phone.SignedIn(); ok {
			s.phones++
			st.Phone, st.pressed = phone{In: now}, time.Time{}
		}
	})
	return ok
}

// leavePhone notes that the phone's page is closed, or that it heard that it is
// signed out.
func (s *story) leavePhone(id sojourn.ID, now time.Time, signedOut bool) {
	s.change(id, func(st *stage) {
		s.phones--
		switch {
		case !signedOut:
			st.Phone = phone{}
		case !st.pressed.IsZero():
			st.Phone.Out, st.Phone.After = now, time.Since(st.pressed)
		default:
			st.Phone.Out = now
		}
	})
}
