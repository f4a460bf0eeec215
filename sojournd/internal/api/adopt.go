package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// oldName stands for the old library's cookie, whose name only the application
// knows.
const oldName = "sojournd-old"

// Adoption is the option Adopt of the engines that an API serves. The application
// reads the old session, and sends it with resolve.
func Adoption() *sojourn.Adoption {
	return &sojourn.Adoption{
		Cookies:    []sojourn.OldCookie{{Name: oldName}},
		KeepCookie: true, // the application clears it
		Read: func(ctx context.Context, _ map[string]string) (*sojourn.OldSession, error) {
			was, read := ctx.Value(oldSession{}).(*sojourn.OldSession)
			if !read {
				return nil, errNotRead
			}
			return was, nil
		},
	}
}

type oldSession struct{} // key of a context

var errNotRead = errors.New("the application has to read the old session first")

// withOld adds the old token of a request to r, and the old session to ctx.
func (c *call) withOld(ctx context.Context, in *v1.Resolve, r *sojourn.Request) (context.Context, error) {
	adopt := in.Adopt
	switch {
	case in.Old == nil && adopt == nil:
		return ctx, nil
	case in.Old == nil:
		return nil, invalid("/adopt", "needs old")
	case in.Cookie == nil:
		return nil, invalid("/old", "needs cookie")
	case len(*in.Old) < minKey:
		return nil, invalid("/old", fmt.Sprintf("has fewer than %d bytes", minKey))
	}
	r.Old = map[string]string{oldName: *in.Old}
	switch {
	case adopt == nil:
		return ctx, nil
	case adopt.Subject != nil && *adopt.Subject == "":
		return nil, invalid("/adopt/subject", "is empty")
	}
	if err := checkKeys("/adopt/values", len(adopt.Values)); err != nil {
		return nil, err
	}
	if err := checkAMR(adopt.AMR); err != nil {
		return nil, err
	}
	options, err := lasting(&adopt.Lasting, adopt.Subject)
	if err != nil {
		return nil, err
	}
	options = append(options, sojourn.AMR(adopt.AMR...))
	if adopt.Level != nil {
		options = append(options, sojourn.Level(*adopt.Level))
	}
	was := &sojourn.OldSession{Login: options, Values: adopt.Values}
	if adopt.Subject != nil {
		was.Subject = *adopt.Subject
		// The engine adopts nothing that can't log in, and the user would be signed
		// out. This session is not stored.
		trial := c.key.app.Sessions.Begin(ctx, sojourn.Request{})
		defer trial.Finish()
		if err := trial.Login(was.Subject, options...); err != nil {
			return nil, err
		}
	}
	return context.WithValue(ctx, oldSession{}, was), nil
}

// setCookies returns the Set-Cookie lines for the browser.
func setCookies(s *sojourn.Session) []string {
	return slices.DeleteFunc(s.SetCookies(), func(line string) bool { return strings.HasPrefix(line, oldName+"=") })
}
