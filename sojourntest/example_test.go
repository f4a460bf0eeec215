package sojourntest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojourntest"
)

// A handler's test sends a request of a user who is signed in.
func Example() {
	t := new(testing.T) // of the test

	account := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello %s.", sojourn.From(r.Context()).Subject())
	}

	sessions := sojourntest.New(t, sojourn.Options{})
	r := sessions.SignedIn(httptest.NewRequest("GET", "/account", nil), "ann")
	w := httptest.NewRecorder()
	sessions.Handler(http.HandlerFunc(account)).ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 Hello ann.
}

// The clock tells what happens when time passes.
func ExampleSessions_Advance() {
	t := new(testing.T) // of the test

	sessions := sojourntest.New(t, sojourn.Options{})
	r := sessions.SignedIn(httptest.NewRequest("GET", "/", nil), "ann")
	sessions.Advance(11 * time.Minute)
	fmt.Println(sessions.Session(r).Subject(), sessions.Session(r).Fresh(10*time.Minute))
	sessions.Advance(25 * time.Hour)
	fmt.Println(sessions.Session(r).EndReason())
	// Output:
	// ann false
	// idle
}

// A browser keeps its cookies from one request to the next.
func ExampleSessions_Browser() {
	t := new(testing.T) // of the test

	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		err := cart.Update(sojourn.From(r.Context()), func(c *[]string) error {
			*c = append(*c, r.FormValue("sku"))
			return nil
		})
		if err != nil {
			sojourn.Error(w, r, err)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sojourn.From(r.Context()).Logout(); err != nil {
			sojourn.Error(w, r, err)
		}
	})

	sessions := sojourntest.New(t, sojourn.Options{})
	b := sessions.Browser(sessions.Handler(mux))
	b.SignIn("ann")
	b.Post("/cart", url.Values{"sku": {"tent"}})
	b.Post("/cart", url.Values{"sku": {"mug"}})
	c, _ := cart.Get(b.Session())
	fmt.Println(c)
	b.Post("/logout", nil)
	for _, e := range sessions.Events(sojourn.EventEnded) {
		fmt.Println(e.Subject, e.Reason)
	}
	// Output:
	// [tent mug]
	// ann logout
}
