package gorilla_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/gorilla/sessions"
	"github.com/labstack/echo-contrib/session"
	"github.com/labstack/echo/v4"
	"github.com/sojourn-go/sojourn/adapters/gorilla"
	"github.com/sojourn-go/sojourn/internal/movetest"
)

// The middleware of echo-contrib takes the Store as it is.
func TestEcho(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		engine, e := movetest.NewEngine(t, nil), echo.New()
		if wrapped {
			e.Use(echo.WrapMiddleware(engine.Handler))
		}
		e.Use(session.Middleware(gorilla.NewStore(engine, "user")))
		testEcho(t, e)
		if n, _, _ := engine.Count(context.Background()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	}
}

func testEcho(t *testing.T, e *echo.Echo) {
	handle := func(path string, do func(*sessions.Session, echo.Context)) {
		e.POST(path, func(c echo.Context) error {
			s, err := session.Get("shop", c)
			if err != nil {
				return err
			}
			do(s, c)
			if err := s.Save(c.Request(), c.Response()); err != nil {
				return err
			}
			return c.NoContent(http.StatusOK)
		})
	}
	handle("/login", func(s *sessions.Session, c echo.Context) { s.Values["user"] = c.QueryParam("user") })
	handle("/logout", func(s *sessions.Session, c echo.Context) { s.Options.MaxAge = -1 })
	e.GET("/who", func(c echo.Context) error {
		s, err := session.Get("shop", c)
		if err != nil {
			return err
		}
		user, _ := s.Values["user"].(string)
		return c.String(http.StatusOK, user)
	})
	v := movetest.NewVisitor(t, e)
	v.Want("GET", "/who", "")
	v.Want("POST", "/login?user=ada", "")
	v.Want("GET", "/who", "ada")
	v.Want("POST", "/logout", "")
	v.Want("GET", "/who", "")
}
