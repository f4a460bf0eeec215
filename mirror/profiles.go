package mirror

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/sojourn-go/sojourn"
)

// Profiles keep users' values beyond their sessions. An application with a table of
// users can keep them there: see Mirror.KeepIn.
type Profiles interface {
	// UpdateProfile applies fn to what is kept for a user, as one step: fn gets the
	// newest entries, and may run again. It stores what fn leaves in the map. If fn
	// returns an error, it stores nothing, and returns that error. It may be called
	// concurrently. An error that isn't one of package sojourn is answered by a 500.
	UpdateProfile(ctx context.Context, subject string, fn func(entries map[string]Entry) error) error
}

// An Entry is what is kept of a value: its JSON, and when it was changed, in
// milliseconds since 1970 by the server's clock. A value that was removed is null.
type Entry struct {
	Value json.RawMessage `json:"value"`
	Time  int64           `json:"time"`
}

// KeepIn makes the mirror keep users' values in p instead of the engine's
// profiles. Call it before the mirror is used. It returns m.
func (m *Mirror) KeepIn(p Profiles) *Mirror {
	m.profiles = p
	return m
}

// engineProfiles are the profiles of an engine.
type engineProfiles struct{ engine *sojourn.Engine }

func (p engineProfiles) UpdateProfile(ctx context.Context, subject string, fn func(map[string]Entry) error) error {
	return p.engine.UpdateProfile(ctx, subject, func(profile map[string]json.RawMessage) error {
		entries := make(map[string]Entry)
		if raw, ok := profile[reserved]; ok {
			if err := json.Unmarshal(raw, &entries); err != nil {
				slog.ErrorContext(ctx, "mirror: a profile is unreadable, and is made again", "error", err)
				clear(entries)
			}
		}
		if err := fn(entries); err != nil {
			return err
		}
		if len(entries) == 0 {
			delete(profile, reserved)
			return nil
		}
		raw, err := json.Marshal(entries)
		profile[reserved] = raw
		return err
	})
}
