package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// BenchmarkRace counts what goes wrong when requests of one browser overlap, on
// real connections. An iteration is one round of the race; the metrics are
// percentages of all rounds.
//
//	updates    64 requests at once each add an item to the cart. lost-%: the
//	           answer was 200, and the item isn't there
//	logout     a request in flight during the logout writes after it.
//	           revived-%: the old token is good again. signed-in-%: the browser is
//	login, elevation, rotation
//	           a request in flight during the renewal writes after it.
//	           old-good-%: the old token is good afterwards. undone-%: the browser
//	           is signed out or without its level. late-undone-%: the same when
//	           the answer to a late request arrives last. kept-%: the write is
//	           in the session
func BenchmarkRace(b *testing.B) {
	for _, race := range []struct {
		name string
		op   op
		run  func(l *raceLab) (map[string]float64, error)
	}{
		{"updates", addItem, (*raceLab).updates},
		{"logout", logout, (*raceLab).logout},
		{"login", login, func(l *raceLab) (map[string]float64, error) { return l.renewal(login, false) }},
		{"elevation", elevate, func(l *raceLab) (map[string]float64, error) { return l.renewal(elevate, true) }},
		{"rotation", rotate, func(l *raceLab) (map[string]float64, error) { return l.renewal(rotate, true) }},
	} {
		for _, p := range peers {
			b.Run("case="+race.name+"/peer="+p.name, func(b *testing.B) {
				s, err := p.open()
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				if !s.supports(race.op) {
					b.Skip("has no " + string(race.op))
				}
				lab := newRaceLab(b, s)
				defer lab.client.CloseIdleConnections() // fiber's Close waits for them
				total := map[string]float64{}
				for b.Loop() {
					seen, err := race.run(lab)
					if err != nil {
						b.Fatal(err)
					}
					for name, share := range seen {
						total[name] += share
					}
				}
				for name, sum := range total {
					b.ReportMetric(100*sum/float64(b.N), name+"-%")
				}
				b.ReportMetric(0, "ns/op") // the handlers sleep
			})
		}
	}
}

// A raceLab sends requests to a site over HTTP.
type raceLab struct {
	site   site
	url    string
	client *http.Client
}

func newRaceLab(b *testing.B, s site) *raceLab {
	url, err := s.listen(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
	return &raceLab{s, url, client}
}

// A response is not yet applied to a jar.
type response struct {
	status  int
	body    []byte
	cookies []string
}

func (l *raceLab) request(o op, query string, cookies jar) (response, error) {
	r, err := http.NewRequest(o.method(), l.url+o.path()+query, nil)
	if err != nil {
		return response{}, err
	}
	if c := cookies.header(); c != "" {
		r.Header.Set("Cookie", c)
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, body, resp.Header["Set-Cookie"]}, err
}

// do sends requests that must succeed, one after the other.
func (l *raceLab) do(j jar, ops ...op) error {
	for _, o := range ops {
		a, err := l.request(o, "", j)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("%s: status %d: %s", o, a.status, bytes.TrimSpace(a.body))
		}
		j.keep(a.cookies)
	}
	return nil
}

// state reads the session. A token that is refused is good for nothing.
func (l *raceLab) state(j jar) (s state, err error) {
	a, err := l.request(readState, "", j.copy())
	if err != nil || a.status != http.StatusOK {
		return s, err
	}
	return s, json.Unmarshal(a.body, &s)
}

// begin starts a slow write and returns when its handler waits at the gate. The
// returned function lets the handler continue, and returns the response.
func (l *raceLab) begin(j jar) (finish func() (response, error)) {
	type result struct {
		response
		err error
	}
	done := make(chan result, 1)
	cookies := j.copy()
	go func() {
		a, err := l.request(slowWrite, "", cookies)
		done <- result{a, err}
	}()
	select {
	case <-l.site.gate().arrived:
	case r := <-done:
		return func() (response, error) { return r.response, r.err }
	}
	return func() (response, error) {
		l.site.gate().release <- struct{}{}
		r := <-done
		return r.response, r.err
	}
}

func (l *raceLab) updates() (map[string]float64, error) {
	j := jar{}
	if err := l.do(j, create); err != nil {
		return nil, err
	}
	const parallel = 64
	var wg sync.WaitGroup
	var answers [parallel]response
	var errs [parallel]error
	for i := range parallel {
		wg.Go(func() { answers[i], errs[i] = l.request(addItem, "?item=item-"+strconv.Itoa(i), j) })
	}
	wg.Wait()
	// A browser keeps the cookie that came last.
	for i := range parallel {
		if errs[i] != nil {
			return nil, errs[i]
		}
		j.keep(answers[i].cookies)
	}
	s, err := l.state(j)
	if err != nil {
		return nil, err
	}
	lost := 0.0
	for i := range parallel {
		if answers[i].status == http.StatusOK && !slices.Contains(s.Cart, "item-"+strconv.Itoa(i)) {
			lost++
		}
	}
	return map[string]float64{"lost": lost / parallel}, nil
}

func (l *raceLab) logout() (map[string]float64, error) {
	j := jar{}
	if err := l.do(j, login); err != nil {
		return nil, err
	}
	old := j.copy()
	if _, err := l.during(j, logout); err != nil {
		return nil, err
	}
	oldState, err := l.state(old)
	if err != nil {
		return nil, err
	}
	now, err := l.state(j)
	return map[string]float64{"revived": one(oldState.Subject != ""), "signed-in": one(now.Subject != "")}, err
}

// during sends o while a slow write is in flight, and lets the browser take both
// answers. It returns the browser's cookies after the first.
func (l *raceLab) during(j jar, o op) (between jar, err error) {
	finish := l.begin(j)
	if err := l.do(j, o); err != nil {
		return nil, err
	}
	between = j.copy()
	a, err := finish()
	j.keep(a.cookies)
	return between, err
}

// renewal runs one renewal with a request in flight, and one with a late request.
func (l *raceLab) renewal(o op, loggedIn bool) (map[string]float64, error) {
	start := func() (jar, error) {
		j := jar{}
		if loggedIn {
			return j, l.do(j, create, login)
		}
		return j, l.do(j, create)
	}
	undone := func(s state) float64 { return one(s.Subject == "" || o == elevate && s.Level != 2) }

	j, err := start()
	if err != nil {
		return nil, err
	}
	old := j.copy()
	renewed, err := l.during(j, o)
	if err != nil {
		return nil, err
	}
	var states [3]state
	for i, cookies := range []jar{old, j, renewed} {
		if states[i], err = l.state(cookies); err != nil {
			return nil, err
		}
	}

	// The answer to the renewal is under way when the browser sends another
	// request with the old cookies.
	if j, err = start(); err != nil {
		return nil, err
	}
	first, err := l.request(o, "", j)
	if err != nil {
		return nil, err
	}
	last, err := l.begin(j)()
	if err != nil {
		return nil, err
	}
	j.keep(first.cookies)
	j.keep(last.cookies)
	late, err := l.state(j)
	return map[string]float64{
		"old-good":    one(states[0].Theme != "" || states[0].Subject != ""),
		"undone":      undone(states[1]),
		"kept":        one(states[2].Late != ""),
		"late-undone": undone(late),
	}, err
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
