package forwardauth_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store"
)

// 500 browsers behind one address return after three days, with cookies of
// forgotten sessions. Each loads a page with 150 assets through a real nginx,
// signs in and signs out. No request is refused. At the same time another
// client at that address sends a new token with each request: there is an event
// about it, and the number of reads of the store is bounded.
func TestDeployedFiveHundredBrowsers(t *testing.T) {
	browsers, assets := 500, 150
	if testing.Short() {
		browsers, assets = 120, 10
	}
	d := deploy(t, nginx, false, func(*forwardauth.App, string) {})
	cookies := make([]string, browsers)
	for i := range cookies {
		cookies[i] = d.signIn(fmt.Sprintf("user-%d", i))
	}
	for range 2 { // they end, and are forgotten
		d.world.pass(36 * time.Hour)
		for done := false; !done; {
			var err error
			if _, done, err = d.store.Store.Sweep(t.Context(), "shop", store.TimeOf(d.world.time()), 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.store.count()

	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	// ask sends a request and returns the status and the session cookie that
	// was set.
	ask := func(method, path, cookie string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.site+path, nil)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		r.Header.Set("Cookie", cookie)
		answer, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		for _, c := range answer.Cookies() {
			if c.Name == "__Host-shop-session" && c.Value != "" {
				cookie = c.Name + "=" + c.Value
			}
		}
		return answer.StatusCode, cookie
	}

	over := make(chan struct{})
	var guesses atomic.Int64
	var guessing sync.WaitGroup
	guessing.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			n := guesses.Add(1)
			if status, _ := ask("GET", "/", fmt.Sprintf("__Host-shop-session=%020d%044d", n, n)); status != http.StatusOK {
				t.Errorf("a guess got %d", status)
				return
			}
		}
	})

	var visitors sync.WaitGroup
	turns := make(chan struct{}, 16)
	for i, cookie := range cookies {
		turns <- struct{}{}
		visitors.Go(func() {
			defer func() { <-turns }()
			want := func(what string, status, want int) {
				if status != want {
					t.Errorf("browser %d: %s: %d, want %d", i, what, status, want)
				}
			}
			status, _ := ask("GET", "/", cookie)
			want("page", status, http.StatusOK)
			for n := range assets {
				status, _ = ask("GET", fmt.Sprintf("/asset/%d", n), cookie)
				want("asset", status, http.StatusOK)
			}
			status, _ = ask("GET", "/account", cookie)
			want("account", status, http.StatusUnauthorized)
			status, live := ask("POST", fmt.Sprintf("/login?user=user-%d", i), cookie)
			want("login", status, http.StatusOK)
			status, _ = ask("GET", "/account", live)
			want("account, signed in", status, http.StatusOK)
			status, _ = ask("POST", "/logout", live)
			want("logout", status, http.StatusOK)
			status, _ = ask("GET", "/account", live)
			want("account, signed out", status, http.StatusUnauthorized)
		})
		d.app.took()
	}
	visitors.Wait()
	close(over)
	guessing.Wait()

	if err := d.engine.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := d.throttled.Load(); n != 1 { // the test's clock stands
		t.Errorf("%d events tell of %d guesses", n, guesses.Load())
	}
	// Per second of the clock there are 110 unknown tokens, and the reads for
	// live sessions: two pages, a sign-out and a check after it.
	if n, limit := d.store.count(), 110+16+8*browsers; n > limit {
		t.Errorf("%d guesses and %d browsers cost %d reads, want at most %d", guesses.Load(), browsers, n, limit)
	}
	t.Logf("%d guesses", guesses.Load())
}
