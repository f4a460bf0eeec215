package shop

import (
	"errors"
	"net/http"
	"slices"

	"github.com/sojourn-go/sojourn"
)

// preferencesKey holds the preferences of a visitor. Those of a user are with
// the user.
var preferencesKey = sojourn.NewKey[Preferences]("preferences")

var themes = []string{"light", "dark", "auto"}

// preferences is POST /preferences.
func (v *visit) preferences() error {
	chosen := Preferences{Theme: v.field("theme"), Language: v.field("language")}
	switch {
	case chosen == Preferences{}:
		return errNoPreference
	case chosen.Theme != "" && !slices.Contains(themes, chosen.Theme):
		return errBadTheme
	case chosen.Language != "" && languages[chosen.Language] == nil:
		return errBadLanguage
	}
	ctx := v.r.Context()
	if v.user.ID != "" {
		if err := v.shop.Users.SetPreferences(ctx, v.user.ID, chosen, v.shop.Now()); err != nil {
			return err
		}
		if err := v.shop.mirror.Refresh(ctx, v.session); err != nil {
			return err
		}
	} else {
		err := preferencesKey.Update(v.session, func(p *Preferences) error { *p = chosen.or(*p); return nil })
		if errors.Is(err, sojourn.ErrValue) { // replace unreadable preferences
			err = preferencesKey.Set(v.session, chosen)
		}
		if err != nil {
			return err
		}
		if err := v.session.Commit(ctx); err != nil {
			return err
		}
	}
	v.prefs = chosen.or(v.prefs)
	v.speak()
	return v.done(v.shown(), sojourn.LocalPath(v.field("next"), "/"))
}

// prefers returns what the visitor of a request prefers, for pages that aren't
// the shop's own. It is empty if nobody can tell.
func (sh *Shop) prefers(r *http.Request) Preferences {
	v := &visit{shop: sh, r: r, session: sojourn.From(r.Context())}
	if err := v.load(); err != nil {
		return Preferences{}
	}
	return v.prefs
}

// shown returns the preferences that the page uses.
func (v *visit) shown() Preferences {
	theme := v.prefs.Theme
	if !slices.Contains(themes, theme) {
		theme = "auto"
	}
	return Preferences{Theme: theme, Language: v.lang}
}
