package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A correctness result counts what goes wrong when requests of one browser overlap, on real connections.
type correctness struct {
	Contender string

	// 64 parallel requests, each adding one item to the cart. Lost were answered with 200.
	Updates, Lost, Refused int

	// A request in flight during logout writes. Revived: afterwards the logged-out token is good for a session again. SignedIn: the browser holds
	// a cookie that is signed in.
	Logout struct{ Rounds, Revived, SignedIn, Refused int }

	Login, Elevation, Rotation renewal
}

// A renewal counts what a request with the old token does to one. Not every contender has every kind.
type renewal struct {
	Rounds int

	// Request in flight during the renewal, which writes after it.
	OldGood int // the token from before is good for a session afterwards
	Undone  int // the browser ends without it: signed out, or without the new level
	Kept    int // the write is in the session afterwards
	Refused int // the write was refused with an error

	// Request with the old token that arrives after the renewal, whose answer the browser gets last.
	LateUndone int
}

// measureCorrectness counts for one contender.
func measureCorrectness(ctx context.Context, who contender, updateRounds, raceRounds int, progress func(string)) (correctness, error) {
	result := correctness{Contender: who.name}
	s, err := who.open()
	if err != nil {
		return result, err
	}
	defer s.Close()
	url, err := s.listen(ctx)
	if err != nil {
		return result, err
	}
	lab := &raceLab{site: s, url: url, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:   time.Minute,
	}}
	defer lab.client.CloseIdleConnections()

	for i := range updateRounds {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		progress(fmt.Sprintf("%s: 64 parallel updates, round %d of %d", who.name, i+1, updateRounds))
		if err := lab.updates(&result); err != nil {
			return result, fmt.Errorf("bench: %s: parallel updates: %w", who.name, err)
		}
	}
	for i := range raceRounds {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		progress(fmt.Sprintf("%s: races, round %d of %d", who.name, i+1, raceRounds))
		if err := lab.logout(&result); err != nil {
			return result, fmt.Errorf("bench: %s: logout: %w", who.name, err)
		}
		for _, kind := range []struct {
			op       op
			loggedIn bool
			of       *renewal
		}{
			{op: login, of: &result.Login},
			{op: elevate, loggedIn: true, of: &result.Elevation},
			{op: rotate, loggedIn: true, of: &result.Rotation},
		} {
			if !s.supports(kind.op) {
				continue
			}
			if err := lab.renewal(kind.op, kind.loggedIn, kind.of); err != nil {
				return result, fmt.Errorf("bench: %s: %s: %w", who.name, opNames[kind.op], err)
			}
		}
	}
	return result, nil
}

// raceLab runs requests against a site over HTTP.
type raceLab struct {
	site   site
	url    string
	client *http.Client
}

// A jar is a browser's cookies. Requests that overlap send a copy of what it holds when they start.
type jar map[string]string

func (j jar) copy() jar {
	c := jar{}
	for k, v := range j {
		c[k] = v
	}
	return c
}

// An httpAnswer is a response, not yet applied to a jar.
type httpAnswer struct {
	status  int
	body    []byte
	cookies []string
}

func (l *raceLab) request(o op, query string, cookies jar) (httpAnswer, error) {
	r, err := http.NewRequestWithContext(context.Background(), o.method(), l.url+o.path()+query, nil)
	if err != nil {
		return httpAnswer{}, err
	}
	if c := cookieHeader(cookies); c != "" {
		r.Header.Set("Cookie", c)
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return httpAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return httpAnswer{resp.StatusCode, body, resp.Header["Set-Cookie"]}, err
}

// do runs a request that must succeed, and gives its cookies to the browser.
func (l *raceLab) do(o op, j jar) error {
	a, err := l.request(o, "", j)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s", opNames[o], a.status, bytes.TrimSpace(a.body))
	}
	keepCookies(j, a.cookies)
	return nil
}

func (l *raceLab) state(j jar) (s state, err error) {
	a, err := l.request(readState, "", j.copy())
	if err != nil {
		return s, err
	}
	if a.status != http.StatusOK {
		return s, nil // refused: whatever this token was, it is good for nothing
	}
	return s, json.Unmarshal(a.body, &s)
}

// begin starts a request and returns once its handler waits at the gate; the returned function lets it go on and returns its answer.
func (l *raceLab) begin(o op, j jar) (finish func() (httpAnswer, error)) {
	type result struct {
		httpAnswer
		err error
	}
	done := make(chan result, 1)
	cookies := j.copy()
	go func() {
		a, err := l.request(o, "", cookies)
		done <- result{a, err}
	}()
	g := l.site.gate()
	select {
	case <-g.arrived:
	case r := <-done:
		return func() (httpAnswer, error) { return r.httpAnswer, r.err }
	}
	return func() (httpAnswer, error) {
		g.release <- struct{}{}
		r := <-done
		return r.httpAnswer, r.err
	}
}

func (l *raceLab) updates(result *correctness) error {
	j := jar{}
	if err := l.do(create, j); err != nil {
		return err
	}
	const parallel = 64
	var (
		wg      sync.WaitGroup
		answers [parallel]httpAnswer
		errs    [parallel]error
	)
	for i := range parallel {
		wg.Go(func() { answers[i], errs[i] = l.request(addItem, "?item=item-"+strconv.Itoa(i), j) })
	}
	wg.Wait()
	// A browser keeps whatever cookie came last; with state on the server any will do.
	for i := range parallel {
		if errs[i] != nil {
			return errs[i]
		}
		keepCookies(j, answers[i].cookies)
	}
	s, err := l.state(j)
	if err != nil {
		return err
	}
	result.Updates += parallel
	for i := range parallel {
		switch {
		case answers[i].status != http.StatusOK:
			result.Refused++
		case !slices.Contains(s.Cart, "item-"+strconv.Itoa(i)):
			result.Lost++
		}
	}
	return nil
}

func (l *raceLab) logout(result *correctness) error {
	j := jar{}
	if err := l.do(login, j); err != nil {
		return err
	}
	old := j.copy()
	finish := l.begin(slowWrite, j)
	if err := l.do(logout, j); err != nil {
		return err
	}
	a, err := finish()
	if err != nil {
		return err
	}
	keepCookies(j, a.cookies)

	n := &result.Logout
	n.Rounds++
	if a.status != http.StatusOK {
		n.Refused++
	}
	s, err := l.state(old)
	if err != nil {
		return err
	}
	if s.Subject != "" {
		n.Revived++
	}
	if s, err = l.state(j); err != nil {
		return err
	}
	if s.Subject != "" {
		n.SignedIn++
	}
	return nil
}

// renewal runs one renewal with a request in flight, and one with a late request.
func (l *raceLab) renewal(o op, loggedIn bool, n *renewal) error {
	start := func() (jar, error) {
		j := jar{}
		if err := l.do(create, j); err != nil || !loggedIn {
			return j, err
		}
		return j, l.do(login, j)
	}
	undone := func(s state) bool { return s.Subject == "" || o == elevate && s.Level != 2 }
	n.Rounds++

	j, err := start()
	if err != nil {
		return err
	}
	old := j.copy()
	finish := l.begin(slowWrite, j)
	if err := l.do(o, j); err != nil {
		return err
	}
	renewed := j.copy()
	a, err := finish()
	if err != nil {
		return err
	}
	keepCookies(j, a.cookies)
	if a.status != http.StatusOK {
		n.Refused++
	}
	s, err := l.state(old)
	if err != nil {
		return err
	}
	if s.Theme != "" || s.Subject != "" {
		n.OldGood++
	}
	if s, err = l.state(j); err != nil {
		return err
	}
	if undone(s) {
		n.Undone++
	}
	if s, err = l.state(renewed); err != nil {
		return err
	}
	if s.Late != "" {
		n.Kept++
	}

	// The answer to the renewal is on its way when the browser sends another request with what it still holds.
	if j, err = start(); err != nil {
		return err
	}
	answer, err := l.request(o, "", j)
	if err != nil {
		return err
	}
	finish = l.begin(slowWrite, j)
	if a, err = finish(); err != nil {
		return err
	}
	keepCookies(j, answer.cookies)
	keepCookies(j, a.cookies)
	if s, err = l.state(j); err != nil {
		return err
	}
	if undone(s) {
		n.LateUndone++
	}
	return nil
}
