package bench

import (
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
		run  func(l *raceLab) map[string]float64
	}{
		{"updates", addItem, (*raceLab).updates},
		{"logout", logout, (*raceLab).logout},
		{"login", login, func(l *raceLab) map[string]float64 { return l.renewal(login, create) }},
		{"elevation", elevate, func(l *raceLab) map[string]float64 { return l.renewal(elevate, create, login) }},
		{"rotation", rotate, func(l *raceLab) map[string]float64 { return l.renewal(rotate, create, login) }},
	} {
		for _, p := range peers {
			b.Run("case="+race.name+"/peer="+p.name, func(b *testing.B) {
				s := p.open()
				defer s.Close()
				if !s.supports(race.op) {
					b.Skip("has no " + string(race.op))
				}
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
				lab := &raceLab{s.listen(), client}
				defer client.CloseIdleConnections() // fiber's Close waits for them
				total := figures{}
				for b.Loop() {
					for name, share := range race.run(lab) {
						total[name+"-%"] += 100 * share
					}
				}
				for name := range total {
					total[name] /= float64(b.N)
				}
				total.report(b)
			})
		}
	}
}

// A raceLab sends requests to a site over HTTP.
type raceLab struct {
	url    string
	client *http.Client
}

func (l *raceLab) request(o op, query string, cookies jar) response {
	r := must(http.NewRequest(o.method(), l.url+o.path()+query, nil))
	if c := cookies.header(); c != "" {
		r.Header.Set("Cookie", c)
	}
	resp := must(l.client.Do(r))
	defer resp.Body.Close()
	return response{resp.StatusCode, must(io.ReadAll(resp.Body)), resp.Header["Set-Cookie"]}
}

// do sends requests that must succeed, one after the other.
func (l *raceLab) do(j jar, ops ...op) {
	for _, o := range ops {
		a := l.request(o, "", j)
		if a.status != http.StatusOK {
			panic(fmt.Sprintf("%s: status %d: %s", o, a.status, a.body))
		}
		j.keep(a.cookies)
	}
}

// state reads the session. A token that is refused is good for nothing.
func (l *raceLab) state(j jar) (s state) {
	if a := l.request(readState, "", j.copy()); a.status == http.StatusOK {
		check(json.Unmarshal(a.body, &s))
	}
	return s
}

// begin starts a slow write and returns when its handler waits at the doors. The
// returned function lets the handler continue, and returns the response.
func (l *raceLab) begin(j jar) (finish func() response) {
	done := make(chan response, 1)
	cookies := j.copy()
	go func() { done <- l.request(slowWrite, "", cookies) }()
	select {
	case <-arrived:
	case r := <-done: // refused before its handler ran
		return func() response { return r }
	}
	return func() response {
		release <- struct{}{}
		return <-done
	}
}

func (l *raceLab) updates() map[string]float64 {
	j := jar{}
	l.do(j, create)
	const parallel = 64
	var wg sync.WaitGroup
	var answers [parallel]response
	for i := range parallel {
		wg.Go(func() { answers[i] = l.request(addItem, "?item=item-"+strconv.Itoa(i), j) })
	}
	wg.Wait()
	for i := range parallel { // a browser keeps the cookie that came last
		j.keep(answers[i].cookies)
	}
	s, lost := l.state(j), 0.0
	for i := range parallel {
		if answers[i].status == http.StatusOK && !slices.Contains(s.Cart, "item-"+strconv.Itoa(i)) {
			lost++
		}
	}
	return map[string]float64{"lost": lost / parallel}
}

func (l *raceLab) logout() map[string]float64 {
	j := jar{}
	l.do(j, login)
	old := j.copy()
	l.during(j, logout)
	return map[string]float64{"revived": one(l.state(old).Subject != ""), "signed-in": one(l.state(j).Subject != "")}
}

// during sends o while a slow write is in flight, and lets the browser take both
// answers. It returns the browser's cookies after the first.
func (l *raceLab) during(j jar, o op) (between jar) {
	finish := l.begin(j)
	l.do(j, o)
	between = j.copy()
	j.keep(finish().cookies)
	return between
}

// renewal runs one renewal with a request in flight, and one with a late request.
func (l *raceLab) renewal(o op, prepare ...op) map[string]float64 {
	undone := func(s state) float64 { return one(s.Subject == "" || o == elevate && s.Level != 2) }

	j := jar{}
	l.do(j, prepare...)
	old := j.copy()
	renewed := l.during(j, o)
	before, now, after := l.state(old), l.state(j), l.state(renewed)

	// The answer to the renewal is under way when the browser sends another
	// request with the old cookies.
	late := jar{}
	l.do(late, prepare...)
	first := l.request(o, "", late)
	last := l.begin(late)()
	late.keep(first.cookies)
	late.keep(last.cookies)
	return map[string]float64{
		"old-good":    one(before.Theme != "" || before.Subject != ""),
		"undone":      undone(now),
		"kept":        one(after.Late != ""),
		"late-undone": undone(l.state(late)),
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
