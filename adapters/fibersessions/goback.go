package fibersessions

import (
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/goback"
)

// GoBack is for an application that has used New, and goes back to fiber's session
// middleware. A request with a cookie of the engine gets a session of fiber, with
// the user and the values that the engine's session has now. The answer clears the
// engine's cookie. cookie is the name of fiber's cookie, and subject the key of the
// user. Values have the types of anyjson.Decode.
//
// The engine must have the store and the options of the one that the application
// used, but no Adopt: otherwise it would adopt each old session again, and hand it
// back, at every request.
//
//	handler, old := session.NewWithStore(config)
//	app.Use(fibersessions.New(engine), fibersessions.GoBack(old, "session_id", "userID"), handler)
func GoBack(old *session.Store, cookie, subject string) fiber.Handler {
	return func(c fiber.Ctx) error {
		back, err := goback.Take(From(c))
		if err == nil && back != nil {
			err = fill(c, old, cookie, subject, back)
		}
		if err != nil {
			return answer(c, err)
		}
		return c.Next()
	}
}

// fill stores what goes back in a new session, which fiber's middleware then finds.
func fill(c fiber.Ctx, old *session.Store, cookie, subject string, back *goback.Session) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: hand a session back to fiber: %w", sojourn.ErrUnavailable, err)
		}
	}()
	if id := strings.Clone(c.Cookies(cookie)); id != "" {
		if err := old.Delete(c, id); err != nil {
			return err
		}
		c.Request().Header.DelCookie(cookie)
	}
	s, err := old.Get(c)
	if err != nil {
		return err
	}
	defer s.Release()
	for key, value := range back.Values {
		s.Set(key, value)
	}
	if back.Subject != "" && s.Get(subject) == nil {
		s.Set(subject, back.Subject)
	}
	return s.Save()
}
