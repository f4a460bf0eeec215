package fibersessions_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/fibersessions"
	"github.com/sojourn-go/sojourn/internal/movetest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func newEngine(t *testing.T, st store.Store, opt sojourn.Options) *sojourn.Engine {
	t.Helper()
	e, err := sojourn.New(st, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()); st.Close() })
	return e
}

var items = sojourn.NewKey[int]("items")

// shop is a shop on New, with fiber's recover middleware.
func shop(e *sojourn.Engine) *fiber.App { return shopOn(fibersessions.New(e), recover.New()) }

func shopOn(middleware ...any) *fiber.App {
	app := fiber.New()
	app.Use(middleware...)
	app.Post("/login", func(c fiber.Ctx) error { return fibersessions.From(c).Login(c.Query("user")) })
	app.Post("/logout", func(c fiber.Ctx) error { return fibersessions.From(c).Logout() })
	app.Post("/add", func(c fiber.Ctx) error {
		return items.Update(fibersessions.From(c), func(n *int) error { *n++; return nil })
	})
	app.Get("/cart", func(c fiber.Ctx) error {
		n, err := items.Get(fibersessions.From(c))
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(fibersessions.From(c).Subject(), " ", n))
	})
	app.Get("/who", func(c fiber.Ctx) error { return c.SendString(fibersessions.From(c).Subject()) })
	app.Post("/fail", func(c fiber.Ctx) error {
		if err := items.Set(fibersessions.From(c), 100); err != nil {
			return err
		}
		return errors.New("the handler failed")
	})
	app.Post("/refuse", func(c fiber.Ctx) error {
		if err := items.Set(fibersessions.From(c), 5); err != nil {
			return err
		}
		return fiber.ErrTeapot
	})
	return app
}

// oldShop is a shop on fiber's session middleware.
func oldShop(config session.Config) (*fiber.App, *session.Store) {
	handler, st := session.NewWithStore(config)
	return oldShopOn(handler), st
}

// oldShopOn is the shop behind some middleware.
func oldShopOn(handlers ...any) *fiber.App {
	app := fiber.New()
	app.Use(handlers...)
	app.Post("/login", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		if err := s.Session.Regenerate(); err != nil {
			return err
		}
		s.Set("user", c.Query("user"))
		return nil
	})
	app.Post("/logout", func(c fiber.Ctx) error { return session.FromContext(c).Destroy() })
	app.Post("/add", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		n, _ := s.Get("items").(int)
		s.Set("items", n+1)
		return nil
	})
	app.Get("/cart", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		n, _ := s.Get("items").(int)
		return c.SendString(fmt.Sprint(s.Get("user"), " ", n))
	})
	return app
}

func TestMoveAndGoBack(t *testing.T) {
	handler, st := session.NewWithStore()
	old := oldShopOn(handler)
	adoption := fibersessions.Adopt(st, sojourn.OldCookie{Name: "session_id"}, "user")
	adoption.KeepCookie = true
	sessions := memstore.New()
	e := newEngine(t, sessions, sojourn.Options{Adopt: adoption})
	back := oldShopOn(fibersessions.New(newEngine(t, sessions, sojourn.Options{})), fibersessions.GoBack(st, "session_id", "user"), handler)
	movetest.Site{Old: adaptor.FiberApp(old), New: adaptor.FiberApp(shop(e)), Back: adaptor.FiberApp(back), Adopted: func() int64 {
		_, n, _ := e.Count(context.Background())
		return n
	}}.Run(t)
}

// A visitor is a browser at an application.
type visitor struct {
	*testing.T
	app     *fiber.App
	cookies map[string]string
}

func (v *visitor) do(method, path string, headers ...string) (*http.Response, string) {
	v.Helper()
	r := httptest.NewRequest(method, path, nil)
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := v.app.Test(r, fiber.TestConfig{Timeout: time.Minute})
	if err != nil {
		v.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	body, _ := io.ReadAll(res.Body)
	return res, string(body)
}

func (v *visitor) want(method, path string, status int, body string) {
	v.Helper()
	if res, got := v.do(method, path); res.StatusCode != status || body != "" && got != body {
		v.Errorf("%s %s: %d %s, want %d %s", method, path, res.StatusCode, got, status, body)
	}
}

func (v *visitor) twin() *visitor {
	copied := &visitor{v.T, v.app, map[string]string{}}
	for name, value := range v.cookies {
		copied.cookies[name] = value
	}
	return copied
}

// No cache keeps a response with a token, whatever the application allows it. The
// application's own headers and cookies stay.
func TestNoCacheKeepsACookie(t *testing.T) {
	app := fiber.New()
	app.Use(fibersessions.New(newEngine(t, memstore.New(), sojourn.Options{})))
	app.Post("/login", func(c fiber.Ctx) error {
		c.Set("CDN-Cache-Control", "max-age=600")
		c.Set("Surrogate-Control", "max-age=600")
		c.Set("Expires", "0")
		c.Set("Cache-Control", "private, max-age=5")
		c.Set("X-Shop", "yes")
		c.Cookie(&fiber.Cookie{Name: "theme", Value: "dark"})
		return fibersessions.From(c).Login("ada")
	})
	res, _ := (&visitor{t, app, map[string]string{}}).do("POST", "/login")
	h := res.Header
	if h.Get("CDN-Cache-Control")+h.Get("Surrogate-Control")+h.Get("Expires") != "" || len(h["Cache-Control"]) != 1 || h.Get("Cache-Control") != "no-store" {
		t.Errorf("a cache may keep %v", h)
	}
	if h.Get("X-Shop") != "yes" || len(h["Set-Cookie"]) != 2 {
		t.Errorf("headers %v", h)
	}
}

func TestMiddleware(t *testing.T) {
	e := newEngine(t, memstore.New(), sojourn.Options{})
	v := &visitor{t, shop(e), map[string]string{}}
	v.want("GET", "/cart", 200, " 0")
	if len(v.cookies) != 0 {
		t.Errorf("a stranger has the cookies %v", v.cookies)
	}
	v.want("POST", "/add", 200, "")
	v.want("POST", "/login?user=ada", 200, "")
	v.want("GET", "/cart", 200, "ada 1")
	v.want("POST", "/fail", 500, "")
	v.want("GET", "/cart", 200, "ada 1")
	v.want("POST", "/refuse", 418, "")
	v.want("GET", "/cart", 200, "ada 5")
	res, _ := v.do("POST", "/login?user=ada")
	if res.Header.Get("Cache-Control") != "no-store" || !strings.Contains(res.Header.Get("Vary"), "Cookie") {
		t.Errorf("headers %v", res.Header)
	}
	res, body := v.do("POST", "/add", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %d %s", res.StatusCode, body)
	}
	twin := v.twin()
	v.want("POST", "/logout", 200, "")
	v.want("GET", "/cart", 200, " 0")
	twin.want("GET", "/cart", 200, " 0")
	for _, token := range []string{"", "x", strings.Repeat("A", 64), strings.Repeat("A", 3000)} {
		bad := &visitor{t, v.app, map[string]string{"__Host-session": token}}
		bad.want("GET", "/cart", 200, " 0")
	}
}

func TestI5ParallelUpdates(t *testing.T) {
	e := newEngine(t, memstore.New(), sojourn.Options{})
	v := &visitor{t, shop(e), map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	var all sync.WaitGroup
	for range 32 {
		one := v.twin()
		all.Go(func() { one.want("POST", "/add", 200, "") })
	}
	all.Wait()
	v.want("GET", "/cart", 200, "ada 32")
}

// fasthttp reuses its buffers, so the engine must keep copies.
func TestNothingOfARequestIsKept(t *testing.T) {
	e := newEngine(t, memstore.New(), sojourn.Options{})
	v := &visitor{t, shop(e), map[string]string{}}
	if res, _ := v.do("POST", "/login?user=ada", "User-Agent", "first browser"); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	for range 20 {
		v.do("GET", "/who", "User-Agent", "OTHER BROWSER", "Cookie", strings.Repeat("z", 300))
	}
	list, _, err := e.List(context.Background(), "ada", "", 10)
	if err != nil || len(list) != 1 || list[0].Created.UserAgent != "first browser" {
		t.Errorf("%+v %v", list, err)
	}
}

func TestI9StoreDown(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	fibersessions.ForgetOutage()
	var down error
	e := newEngine(t, driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		if down != nil && c.Op != driver.Close {
			return driver.Result{Err: down}
		}
		return c.Do(ctx)
	}), sojourn.Options{})
	v := &visitor{t, shop(e), map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	alone := v.twin() // a panic that nobody recovers would end the process
	alone.app = shopOn(fibersessions.New(e))
	for _, down = range []error{errors.New("connection refused at 10.0.0.1"), fmt.Errorf("%w: 10.0.0.1 is silent", store.ErrUncertain)} {
		for _, request := range []string{"GET /who", "GET /cart", "POST /add", "POST /logout", "POST /fail"} {
			method, path, _ := strings.Cut(request, " ")
			for _, v := range []*visitor{v.twin(), alone.twin()} {
				res, body := v.do(method, path)
				if res.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "10.0.0.1") || len(res.Cookies()) > 0 {
					t.Errorf("%s: %d %s", request, res.StatusCode, body)
				}
			}
		}
	}
	if n := strings.Count(log.String(), "connection refused at 10.0.0.1"); n == 0 || n == 10 { // one, unless the machine is very slow
		t.Errorf("%d lines in the log: %s", n, log.String())
	}
	down = nil
	v.want("GET", "/who", 200, "ada")
}

// In development mode a request that came over HTTPS is refused, and the process
// goes on.
func TestDevelopmentIsRefused(t *testing.T) {
	app := shopOn(fibersessions.New(newEngine(t, memstore.New(), sojourn.Options{Development: true})))
	v := &visitor{t, app, map[string]string{}}
	if res, _ := v.do("GET", "/who", "X-Forwarded-Proto", "https"); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d", res.StatusCode)
	}
}

// A stream goes on with its session when the handler has returned.
func TestStream(t *testing.T) {
	e := newEngine(t, memstore.New(), sojourn.Options{})
	app := shop(e)
	app.Get("/stream", func(c fiber.Ctx) error {
		s := fibersessions.From(c)
		if err := items.Update(s, func(n *int) error { *n++; return nil }); err != nil {
			return err
		}
		done := s.Done()
		return c.SendStreamWriter(func(w *bufio.Writer) {
			n, err := items.Get(s)
			fmt.Fprintln(w, s.Subject(), n, err)
			w.Flush()
			<-done
			fmt.Fprintln(w, "ended", errors.Is(items.Set(s, 1), sojourn.ErrCommitted))
		})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() { _ = app.Shutdown() })
	v := &visitor{t, app, map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	r, _ := http.NewRequest("GET", "http://"+listener.Addr().String()+"/stream", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: v.cookies["__Host-session"]})
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for i, want := range []string{"ada 1 <nil>", "ended true"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the stream says %q, want %q", lines.Text(), want)
		}
		if i == 0 {
			v.want("POST", "/logout", 200, "")
		}
	}
}

type typedKey int

// A hidden is a type whose fields only gob sees.
type hidden struct{ text string }

func (h hidden) GobEncode() ([]byte, error) { return []byte(h.text), nil }
func (h *hidden) GobDecode(b []byte) error  { h.text = string(b); return nil }

func TestAdopt(t *testing.T) {
	old, st := oldShop(session.Config{AbsoluteTimeout: time.Hour, IdleTimeout: time.Hour})
	st.RegisterType(hidden{})
	st.RegisterType(typedKey(0))
	old.Post("/fill", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		s.Set("large", uint64(math.MaxUint64))
		s.Set("since", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		s.Set("hidden", hidden{"x"})
		s.Set(typedKey(5), "typed")
		return nil
	})
	var adopted []sojourn.Event
	e := newEngine(t, memstore.New(), sojourn.Options{Adopt: fibersessions.Adopt(st, sojourn.OldCookie{Name: "session_id"}, "user"), OnEvent: func(e sojourn.Event) {
		if e.Kind == sojourn.EventAdopted {
			adopted = append(adopted, e)
		}
	}})
	v := &visitor{t, old, map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	v.want("POST", "/fill", 200, "")
	id := v.cookies["session_id"]
	v.app = shop(e)
	v.want("GET", "/cart", 200, "ada 0")
	if v.cookies["session_id"] != "" || v.cookies["__Host-session"] == "" {
		t.Errorf("cookies %v", v.cookies)
	}
	list, _, _ := e.ListSnapshots(context.Background(), "ada", "", 1)
	if want := `{"large":18446744073709551615,"since":"2026-03-01T12:00:00Z","user":"ada"}`; string(list[0].Values) != want {
		t.Errorf("values %s, want %s", list[0].Values, want)
	}
	if err := e.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(adopted) != 1 || adopted[0].Detail == "" || strings.Count(adopted[0].Detail, "key") != 2 {
		t.Errorf("%+v", adopted)
	}
	if _, err := st.GetByID(context.Background(), id); !errors.Is(err, session.ErrSessionIDNotFoundInStore) {
		t.Errorf("the old session: %v", err)
	}
	for _, bad := range []string{"", "x", id + "A", strings.Repeat("x", 3000)} {
		(&visitor{t, v.app, map[string]string{"session_id": bad}}).want("GET", "/cart", 200, " 0")
	}
}

// An old session lives as long as it is used, whatever its idle limit is. So only
// an absolute limit says how long its adoption must be remembered.
func TestAdoptionLifetime(t *testing.T) {
	for _, c := range []struct {
		config session.Config
		want   time.Duration
	}{
		{session.Config{IdleTimeout: 30 * time.Second}, 0},
		{session.Config{IdleTimeout: 30 * time.Second, AbsoluteTimeout: 30 * time.Second}, time.Minute},
		{session.Config{IdleTimeout: time.Hour, AbsoluteTimeout: 100 * time.Hour}, 100 * time.Hour},
	} {
		_, st := oldShop(c.config)
		a := fibersessions.Adopt(st, sojourn.OldCookie{Name: "session_id"}, "user")
		if a.Lifetime != c.want {
			t.Errorf("%v: %v, want %v", c.config.AbsoluteTimeout, a.Lifetime, c.want)
		}
		newEngine(t, memstore.New(), sojourn.Options{Adopt: a})
	}
}
