package sojourn_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var (
	visits = sojourn.NewKey[int]("visits")
	basket = sojourn.NewKey[map[string]int]("basket")
)

// browser visits pages of a handler, and keeps cookies like a browser.
type browser struct {
	page    http.Handler
	cookies map[string]string
}

func visitor(page http.Handler) *browser { return &browser{page, map[string]string{}} }

// get requests a page and returns the status and the body of the answer.
func (b *browser) get(path string) string {
	r := httptest.NewRequest("GET", "http://localhost"+path, nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.page.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return fmt.Sprintln(w.Code, w.Body)
}

func Example() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	hello := func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		if err := visits.Update(s, func(n *int) error { *n++; return nil }); err != nil {
			sojourn.Error(w, r, err)
			return
		}
		n, _ := visits.Get(s)
		fmt.Fprintf(w, "Visit %d.", n)
	}

	b := visitor(sessions.Handler(http.HandlerFunc(hello)))
	fmt.Print(b.get("/"), b.get("/"))
	// Output:
	// 200 Visit 1.
	// 200 Visit 2.
}

// A page for signed-in users sends visitors to the sign-in page, which leads
// back.
func ExampleRequirement() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	member := sojourn.Requirement{SignIn: "/login"}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", member.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "The orders of %s.", sojourn.From(r.Context()).Subject())
	})))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// The application has checked the password, and knows the user's ID.
		if err := sojourn.From(r.Context()).Login("user-42"); err != nil {
			sojourn.Error(w, r, err)
			return
		}
		http.Redirect(w, r, sojourn.LocalPath(r.FormValue("return_to"), "/"), http.StatusSeeOther)
	})
	app := sessions.Handler(mux)

	r := httptest.NewRequest("GET", "/orders?page=2", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))

	for _, back := range []string{"/orders?page=2", "https://elsewhere.example/"} {
		w = httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequest("POST", "/login?return_to="+url.QueryEscape(back), nil))
		fmt.Println(w.Code, w.Header().Get("Location"))
	}
	// Output:
	// 303 /login?return_to=%2Forders%3Fpage%3D2
	// 303 /orders?page=2
	// 303 /
}

// A cart that a visitor fills before the login is still there after it.
func ExampleSession_Login() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	mux := http.NewServeMux()
	mux.HandleFunc("/add", func(w http.ResponseWriter, r *http.Request) {
		err := basket.Update(sojourn.From(r.Context()), func(c *map[string]int) error {
			*c = map[string]int{"tent": (*c)["tent"] + 1}
			return nil
		})
		if err != nil {
			sojourn.Error(w, r, err)
		}
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		// The application has checked the password, and knows the user's ID.
		if err := sojourn.From(r.Context()).Login("user-42", sojourn.AMR("pwd")); err != nil {
			sojourn.Error(w, r, err)
		}
	})
	mux.HandleFunc("/cart", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		c, _ := basket.Get(s)
		fmt.Fprint(w, s.Subject(), " ", c)
	})

	b := visitor(sessions.Handler(mux))
	b.get("/add")
	b.get("/login")
	fmt.Print(b.get("/cart"))
	// Output:
	// 200 user-42 map[tent:1]
}

// An action that a thief must not take asks for a fresh login.
func ExampleSession_Fresh() {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{Now: func() time.Time { return now }}))
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		sojourn.From(r.Context()).Login("user-42")
	})
	mux.HandleFunc("/new-password", func(w http.ResponseWriter, r *http.Request) {
		if !sojourn.From(r.Context()).Fresh(10 * time.Minute) {
			http.Error(w, "Enter your password again.", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "Changed.")
	})

	b := visitor(sessions.Handler(mux))
	b.get("/login")
	fmt.Print(b.get("/new-password"))
	now = now.Add(time.Hour)
	fmt.Print(b.get("/new-password"))
	// Output:
	// 200 Changed.
	// 403 Enter your password again.
}

// "Sign out everywhere else": the session of this request is kept.
func ExampleEngine_EndSubject() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		sojourn.From(r.Context()).Login("user-42")
	})
	mux.HandleFunc("/sign-out-others", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		n, err := sessions.EndSubject(r.Context(), s.Subject(), s.ID())
		if err != nil {
			sojourn.Error(w, r, err)
			return
		}
		fmt.Fprintf(w, "Ended %d.", n)
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		fmt.Fprintf(w, "%q, ended by %q", s.Subject(), s.EndReason())
	})

	site := sessions.Handler(mux)
	phone, laptop := visitor(site), visitor(site)
	phone.get("/login")
	laptop.get("/login")
	fmt.Print(laptop.get("/sign-out-others"), phone.get("/who"), laptop.get("/who"))
	// Output:
	// 200 Ended 1.
	// 200 "", ended by "revoked"
	// 200 "user-42", ended by ""
}

// A stream ends with its session.
func ExampleSession_Done() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	open := make(chan sojourn.ID, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		sojourn.From(r.Context()).Login("user-42")
	})
	mux.HandleFunc("/messages", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		ended := s.Done()
		open <- s.ID()
		select { // a real handler also waits for messages
		case <-ended:
			fmt.Fprint(w, "You are signed out.")
		case <-r.Context().Done():
		}
	})

	b := visitor(sessions.Handler(mux))
	b.get("/login")
	go func() { sessions.End(context.Background(), <-open) }()
	fmt.Print(b.get("/messages"))
	// Output:
	// 200 You are signed out.
}

// Two nodes share a store. In production it is that of drivers/redisstore or
// drivers/pgstore, and each node has nearcache.NewShared in front of it.
func Example_manyNodes() {
	shared := memstore.New()
	node := func() http.Handler {
		sessions := sojourn.Must(sojourn.New(shared, sojourn.Options{}))
		return sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := sojourn.From(r.Context())
			visits.Update(s, func(n *int) error { *n++; return nil })
			n, _ := visits.Get(s)
			fmt.Fprint(w, n)
		}))
	}

	b := visitor(node())
	fmt.Print(b.get("/"))
	b.page = node()
	fmt.Print(b.get("/"))
	// Output:
	// 200 1
	// 200 2
}

// A program without cookies gets its token in the answer to the login.
func ExampleAsBearer() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{Bearer: true}))
	var token string
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		if r.URL.Path == "/login" {
			if err := errors.Join(s.Login("robot-7", sojourn.AsBearer()), s.Commit(r.Context())); err != nil {
				sojourn.Error(w, r, err)
				return
			}
			token = s.Token() // a real handler writes it to w
			return
		}
		fmt.Fprint(w, s.Subject())
	}))

	visitor(site).get("/login")
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output:
	// robot-7
}

// Error answers with the status that fits, and without internal details.
func ExampleError() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{MaxValue: 10}))
	note := sojourn.NewKey[string]("note")
	b := visitor(sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := note.Set(sojourn.From(r.Context()), "much more than ten bytes"); err != nil {
			sojourn.Error(w, r, err)
			return
		}
	})))
	fmt.Print(b.get("/"))
	// Output:
	// 413 Request Entity Too Large: that is too much to keep in a session
}
