// Package movetest moves signed-in browsers from another session library to
// Sojourn, under load, and back. The tests of the adapters use it.
package movetest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Browsers is the number of browsers that Run moves.
const Browsers = 100

// A Site is an application before and after the move, as two handlers. Each
// serves
//
//	POST /login?user=NAME   signs in
//	POST /add               adds one item to the cart
//	GET  /cart              answers "NAME ITEMS"
//
// and answers with 200.
type Site struct {
	Old, New http.Handler

	// Back is the old application with GoBack around it. Default: none.
	Back http.Handler

	// LastWins says that New uses the API of a library that loses parallel updates
	// of one value. Then nothing is added in parallel.
	LastWins bool

	// Adopted returns the number of sessions that New keeps.
	Adopted func() int64
}

// Run signs 100 browsers in at the old application, of which each then adds to
// its cart. Amid that the new application takes the old one's place. Nobody may
// be signed out, and no item may be lost, although each browser then adds several
// at once. Then it goes back to the old application, whose carts are as they
// were, and on to the new one again. With Back, it then goes back with the carts
// as they are, and forward once more.
func (s Site) Run(t *testing.T) {
	var serving atomic.Pointer[http.Handler]
	serving.Store(&s.Old)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*serving.Load()).ServeHTTP(w, r)
	}))
	defer server.Close()
	transport := server.Client().Transport.(*http.Transport)
	transport.MaxIdleConnsPerHost = Browsers

	var browsers []*browser
	open := func() {
		client := &http.Client{Transport: transport, Jar: &jar{cookies: map[string]string{}}}
		browsers = append(browsers, &browser{t, server.URL, client, fmt.Sprint("user", len(browsers)), 0})
	}
	for range Browsers {
		open()
	}
	all := func(do func(*browser)) {
		var group sync.WaitGroup
		for _, b := range browsers {
			group.Go(func() { do(b) })
		}
		group.Wait()
	}

	var half sync.WaitGroup
	half.Add(Browsers)
	deployed := make(chan bool)
	go func() {
		half.Wait() // all are signed in, and go on
		serving.Store(&s.New)
		close(deployed)
	}()
	all(func(b *browser) {
		b.do("POST", "/login?user="+b.user)
		b.add(3)
		half.Done()
		for moved := false; !moved; {
			select {
			case <-deployed:
				moved = true
			default:
			}
			b.add(1)
			b.check(b.items)
		}
	})
	atMove := make(map[*browser]int)
	for _, b := range browsers {
		atMove[b] = b.items
	}
	all(func(b *browser) {
		for range 3 {
			if s.LastWins {
				b.add(1)
			} else {
				b.addAtOnce(4)
			}
			b.check(b.items)
		}
	})
	if n := s.Adopted(); n != Browsers {
		t.Errorf("%d sessions for %d browsers", n, Browsers)
	}

	serving.Store(&s.Old)
	all(func(b *browser) {
		user, items := b.cart()
		if user != b.user || items < 3 || items > atMove[b] {
			t.Errorf("back at the old application: %s has %d items, %s had %d when it moved", user, items, b.user, atMove[b])
		}
	})
	serving.Store(&s.New)
	all(func(b *browser) { b.check(b.items) })
	if s.Back == nil {
		return
	}
	open() // somebody who signs in at the new application
	newcomer := browsers[Browsers]
	newcomer.do("POST", "/login?user="+newcomer.user)
	all(func(b *browser) { b.add(1) })
	for _, h := range []*http.Handler{&s.Back, &s.New} {
		serving.Store(h)
		all(func(b *browser) {
			b.check(b.items)
			b.add(1)
			b.check(b.items)
		})
	}
}

// A browser is one user's, with a cookie jar.
type browser struct {
	*testing.T
	url    string
	client *http.Client
	user   string
	items  int // in the cart
}

func (b *browser) do(method, path string) string {
	r, err := http.NewRequestWithContext(b.Context(), method, b.url+path, nil)
	if err != nil {
		b.Error(err)
		return ""
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.Error(err)
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Errorf("%s: %s %s: %s %v: %s", b.user, method, path, res.Status, err, body)
	}
	return string(body)
}

// add adds items one after the other, since old libraries lose parallel updates.
func (b *browser) add(items int) {
	for range items {
		b.do("POST", "/add")
	}
	b.items += items
}

func (b *browser) addAtOnce(items int) {
	var group sync.WaitGroup
	for range items {
		group.Go(func() { b.do("POST", "/add") })
	}
	group.Wait()
	b.items += items
}

func (b *browser) cart() (user string, items int) {
	text := b.do("GET", "/cart")
	if _, err := fmt.Sscan(text, &user, &items); err != nil {
		b.Errorf("%s: the cart is %q", b.user, text)
	}
	return user, items
}

func (b *browser) check(items int) {
	if user, n := b.cart(); user != b.user || n != items {
		b.Errorf("%s has %d items, want %s with %d", user, n, b.user, items)
	}
}

// A jar keeps cookies as browsers do on localhost, where Secure ones work over
// plain HTTP.
type jar struct {
	mu      sync.Mutex
	cookies map[string]string
}

func (j *jar) Cookies(*url.URL) (list []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, value := range j.cookies {
		list = append(list, &http.Cookie{Name: name, Value: value})
	}
	return list
}

func (j *jar) SetCookies(_ *url.URL, list []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range list {
		if c.MaxAge < 0 {
			delete(j.cookies, c.Name)
		} else {
			j.cookies[c.Name] = c.Value
		}
	}
}
