package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
)

func openBare() site {
	s := newHTTPSite()
	s.handlers[nothing] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, ok, nil) })
	return s
}

// A floor does the least that reads a session from a secret token. It has no
// deadlines, limits, events or headers.
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

func openFloor() site {
	f := new(floor)
	for i := range f.shards {
		f.shards[i].sessions = map[[16]byte]floorSession{}
	}
	s := newHTTPSite()
	for _, o := range []op{login, loginAny, create} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f.create(w)
			answer(w, ok, nil)
		})
	}
	for _, o := range []op{readSubject, readTheme} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v := f.session(r)
			answer(w, ok, right(v.subject == subject && v.theme == theme))
		})
	}
	return s
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

func (f *floor) session(r *http.Request) floorSession {
	var text [64]byte
	var token [48]byte
	_, value, _ := strings.Cut(r.Header.Get("Cookie"), "session=")
	value, _, _ = strings.Cut(value, ";")
	if len(value) != len(text) {
		return floorSession{}
	}
	copy(text[:], value)
	if _, err := base64.RawURLEncoding.Decode(token[:], text[:]); err != nil {
		return floorSession{}
	}
	secret := sha256.Sum256(token[16:])
	shard := &f.shards[token[0]%64]
	shard.RLock()
	v := shard.sessions[[16]byte(token[:16])]
	shard.RUnlock()
	if subtle.ConstantTimeCompare(v.secret[:], secret[:]) == 0 {
		return floorSession{}
	}
	return v
}
