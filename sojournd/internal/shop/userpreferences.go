package shop

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/mirror"
)

// SetPreferences changes the preferences that are not empty. They were chosen at
// the given time. It returns ErrNoUser.
func (u *Users) SetPreferences(ctx context.Context, id string, p Preferences, at time.Time) error {
	return u.exec(ctx, `UPDATE users SET theme = coalesce(nullif(?1, ''), theme), theme_at = iif(?1 = '', theme_at, ?3),
		language = coalesce(nullif(?2, ''), language), language_at = iif(?2 = '', language_at, ?3) WHERE id = ?4`,
		p.Theme, p.Language, at.UnixMilli(), id)
}

// UpdateProfile lets the mirror keep preferences with the user (mirror.Profiles).
// An account that is gone has none.
func (u *Users) UpdateProfile(ctx context.Context, id string, fn func(map[string]mirror.Entry) error) error {
	for range maxRaces {
		was, err := u.chosen(ctx, id)
		gone := errors.Is(err, sql.ErrNoRows)
		if err != nil && !gone {
			return fmt.Errorf("shop: read a user: %w", err)
		}
		is, err := was.change(fn)
		if err != nil || gone || is == was {
			return err
		}
		err = u.exec(ctx, `UPDATE users SET theme = ?, theme_at = ?, language = ?, language_at = ?
			WHERE id = ? AND theme = ? AND theme_at = ? AND language = ? AND language_at = ?`,
			is.theme, is.themeAt, is.language, is.languageAt, id, was.theme, was.themeAt, was.language, was.languageAt)
		if !errors.Is(err, ErrNoUser) { // otherwise another request came first
			return err
		}
	}
	return fmt.Errorf("shop: store a user: %d other requests came first", maxRaces)
}

const maxRaces = 50

// choices are a user's preferences, with the times in milliseconds since 1970 at
// which they were chosen.
type choices struct {
	theme      string
	themeAt    int64
	language   string
	languageAt int64
}

func (u *Users) chosen(ctx context.Context, id string) (c choices, err error) {
	err = u.db.QueryRowContext(ctx, "SELECT theme, theme_at, language, language_at FROM users WHERE id = ?", id).
		Scan(&c.theme, &c.themeAt, &c.language, &c.languageAt)
	return c, err
}

// change returns what fn makes of the choices.
func (c choices) change(fn func(map[string]mirror.Entry) error) (choices, error) {
	fields := map[string]struct {
		value *string
		at    *int64
	}{themeKey.Name(): {&c.theme, &c.themeAt}, languageKey.Name(): {&c.language, &c.languageAt}}
	entries := make(map[string]mirror.Entry)
	for name, f := range fields {
		if *f.value != "" || *f.at != 0 {
			var value any // null: there is no choice any more
			if *f.value != "" {
				value = *f.value
			}
			raw, err := json.Marshal(value)
			if err != nil {
				return c, err
			}
			entries[name] = mirror.Entry{Value: raw, Time: *f.at}
		}
	}
	if err := fn(entries); err != nil {
		return c, err
	}
	for name, f := range fields {
		e := entries[name]
		*f.value, *f.at = "", e.Time
		if len(e.Value) > 0 {
			if err := json.Unmarshal(e.Value, f.value); err != nil { // null leaves it empty
				return c, err
			}
		}
	}
	return c, nil
}
