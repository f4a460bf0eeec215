package ginsessions_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	"github.com/gin-contrib/sessions/tester"
	"github.com/gin-gonic/gin"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/ginsessions"
	"github.com/sojourn-go/sojourn/adapters/gorilla"
	"github.com/sojourn-go/sojourn/internal/movetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
	m.Run()
}

// The public suite of gin-contrib/sessions, except for tester.Options, which demands
// cookies with the attributes that the application sets.
func TestPublicSuite(t *testing.T) {
	newStore := func(t *testing.T) sessions.Store { return ginsessions.NewStore(movetest.NewEngine(t, nil), "") }
	t.Run("GetSet", func(t *testing.T) { tester.GetSet(t, newStore) })
	t.Run("DeleteKey", func(t *testing.T) { tester.DeleteKey(t, newStore) })
	t.Run("Flashes", func(t *testing.T) { tester.Flashes(t, newStore) })
	t.Run("Clear", func(t *testing.T) { tester.Clear(t, newStore) })
	t.Run("Many", func(t *testing.T) { tester.Many(t, newStore) })
}

// shop is a shop on gin-contrib/sessions.
func shop(st sessions.Store) *gin.Engine {
	router := gin.New()
	router.Use(gin.Recovery(), sessions.Sessions("shop", st))
	save := func(c *gin.Context) {
		if err := sessions.Default(c).Save(); err != nil {
			c.String(sojourn.StatusCode(err), err.Error())
		}
	}
	router.POST("/login", func(c *gin.Context) {
		sessions.Default(c).Set("user", c.Query("user"))
		save(c)
	})
	router.POST("/add", func(c *gin.Context) {
		s := sessions.Default(c)
		n, _ := s.Get("items").(int)
		s.Set("items", n+1)
		save(c)
	})
	router.GET("/cart", func(c *gin.Context) {
		s := sessions.Default(c)
		n, _ := s.Get("items").(int)
		c.String(http.StatusOK, fmt.Sprint(s.Get("user"), " ", n))
	})
	router.POST("/logout", func(c *gin.Context) {
		s := sessions.Default(c)
		s.Options(sessions.Options{MaxAge: -1})
		save(c)
	})
	router.POST("/clear", func(c *gin.Context) {
		sessions.Default(c).Clear()
		save(c)
	})
	return router
}

func TestMoveWithoutChangingTheCode(t *testing.T) {
	old := cookie.NewStore([]byte("0123456789abcdef0123456789abcdef"))
	adoption := gorilla.AdoptTo(old, "user", "shop")
	adoption.KeepCookie = true
	e, back := movetest.NewEngines(t, adoption)
	movetest.Site{Old: shop(old), New: e.Handler(shop(ginsessions.NewStore(e, "user"))), Back: gorilla.GoBack(old, back, "user", "shop")(shop(old)), LastWins: true, Adopted: func() int64 {
		_, loggedIn, _ := e.Count(context.Background())
		return loggedIn
	}}.Run(t)
}

func TestEnd(t *testing.T) {
	for _, end := range []string{"/logout", "/clear"} {
		e := movetest.NewEngine(t, nil)
		router := shop(ginsessions.NewStore(e, "user"))
		do := func(method, path, session string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, nil)
			r.AddCookie(&http.Cookie{Name: "__Host-session", Value: session})
			w := httptest.NewRecorder()
			router.ServeHTTP(w, r)
			return w
		}
		token := do("POST", "/login?user=ada", "").Result().Cookies()[0].Value
		if w := do("GET", "/cart", token); w.Body.String() != "ada 0" {
			t.Errorf("%s", w.Body)
		}
		do("POST", end, token)
		if w := do("GET", "/cart", token); w.Body.String() != "<nil> 0" {
			t.Errorf("after %s: %s", end, w.Body)
		}
		if _, n, _ := e.Count(context.Background()); n != 0 {
			t.Errorf("after %s somebody is logged in", end)
		}
	}
}

// A session that can't be read is never an empty one.
func TestI9StoreDown(t *testing.T) {
	e := movetest.NewEngine(t, &sojourn.Adoption{Cookies: []sojourn.OldCookie{{Name: "old"}}, Read: func(context.Context, map[string]string) (*sojourn.OldSession, error) {
		return nil, errors.New("connection refused")
	}})
	router := shop(ginsessions.NewStore(e, "user"))
	for status, h := range map[int]http.Handler{http.StatusInternalServerError: router, http.StatusServiceUnavailable: e.Handler(router)} {
		server := httptest.NewServer(h)
		r, _ := http.NewRequest("GET", server.URL+"/cart", nil)
		r.AddCookie(&http.Cookie{Name: "old", Value: "x"})
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != status {
			t.Errorf("%d %s, want %d", res.StatusCode, body, status)
		}
		res.Body.Close()
		server.Close()
	}
}
