package console

import (
	"net/http"
)

// overviewPage is GET /. It shows the applications with their live sessions.
func (v *visit) overviewPage() error {
	type card struct {
		Name                string
		LoggedIn, Anonymous int64
	}
	var cards []card
	for _, a := range v.Apps() {
		sessions, loggedIn, err := a.Sessions.Count(v.r.Context())
		if err != nil {
			return err
		}
		cards = append(cards, card{a.Name, loggedIn, sessions - loggedIn})
	}
	v.render(http.StatusOK, "overview", cards)
	return nil
}
