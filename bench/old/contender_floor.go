package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
)

func openBare() (site, error) {
	s := newHTTPSite()
	s.handlers[nothing] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, true) })
	return s, nil
}

// floor does the least that must be done to read a session from a secret token, and nothing else: no deadlines, no touch, no
// limits, no headers.
type floor struct {
	shards [64]struct {
		sync.RWMutex
		sessions map[[16]byte]floorSession
	}
}

type floorSession struct {
	secret         [32]byte // SHA-256
	subject, theme string
}

func openFloor() (site, error) {
	f := new(floor)
	for i := range f.shards {
		f.shards[i].sessions = map[[16]byte]floorSession{}
	}
	s := newHTTPSite()
	on := func(o op, h http.HandlerFunc) { s.handlers[o] = h }
	on(login, func(w http.ResponseWriter, r *http.Request) { f.create(w); answer(w, true) })
	on(create, func(w http.ResponseWriter, r *http.Request) { f.create(w); answer(w, true) })
	on(readSubject, func(w http.ResponseWriter, r *http.Request) {
		v, _ := f.session(r)
		answer(w, v.subject == subject)
	})
	on(readTheme, func(w http.ResponseWriter, r *http.Request) {
		v, _ := f.session(r)
		answer(w, v.theme == theme)
	})
	return s, nil
}

func (f *floor) create(w http.ResponseWriter) {
	var token [48]byte
	_, _ = rand.Read(token[:])
	shard := &f.shards[token[0]%64]
	shard.Lock()
	shard.sessions[[16]byte(token[:16])] = floorSession{sha256.Sum256(token[16:]), subject, theme}
	shard.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: base64.RawURLEncoding.EncodeToString(token[:])})
}

func (f *floor) session(r *http.Request) (floorSession, bool) {
	header := r.Header["Cookie"]
	if len(header) == 0 {
		return floorSession{}, false
	}
	_, value, _ := strings.Cut(header[0], "session=")
	value, _, _ = strings.Cut(value, ";")
	var text [64]byte
	var token [48]byte
	if len(value) != len(text) {
		return floorSession{}, false
	}
	copy(text[:], value)
	if _, err := base64.RawURLEncoding.Decode(token[:], text[:]); err != nil {
		return floorSession{}, false
	}
	secret := sha256.Sum256(token[16:])
	shard := &f.shards[token[0]%64]
	shard.RLock()
	v, ok := shard.sessions[[16]byte(token[:16])]
	shard.RUnlock()
	return v, ok && subtle.ConstantTimeCompare(v.secret[:], secret[:]) == 1
}
