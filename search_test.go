package sojourn_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

func TestSearch(t *testing.T) {
	w := newWorld(t)
	for i := range 300 {
		w.loggedIn([]string{"ann", "anton", "bob"}[i%3])
	}
	w.visit(new(jar), func(s *sojourn.Session) error { return color.Set(s, "red") })
	for _, c := range []struct {
		filter sojourn.Filter
		want   int
	}{
		{sojourn.Filter{}, 301},
		{sojourn.Filter{Subject: "ann"}, 100},
		{sojourn.Filter{SubjectPrefix: "an"}, 200},
		{sojourn.Filter{LoggedIn: sojourn.Not}, 1},
		{sojourn.Filter{UserAgent: "browser", LoggedIn: sojourn.Only}, 300},
		{sojourn.Filter{Network: netip.PrefixFrom(home.IP, 24)}, 301},
		{sojourn.Filter{Network: netip.MustParsePrefix("203.0.113.0/24")}, 0},
		{sojourn.Filter{CreatedFrom: w.time().Add(time.Second)}, 0},
		{sojourn.Filter{SeenTo: w.time().Add(time.Second)}, 301},
		{sojourn.Filter{MinLevel: 4}, 0},
		{sojourn.Filter{MinLevel: -1}, 301},
	} {
		seen := map[sojourn.ID]bool{}
		for cursor, calls := "", 0; ; calls++ {
			page, err := w.Search(ctx, c.filter, cursor, 10)
			if err != nil || len(page.Sessions) > 10 || calls > 300 {
				t.Fatalf("%+v: %+v, %v", c.filter, page, err)
			}
			for _, i := range page.Sessions {
				if seen[i.ID] {
					t.Errorf("%+v: %v is found twice", c.filter, i.ID)
				}
				seen[i.ID] = true
			}
			if cursor = page.Cursor; cursor == "" {
				w.want("share", page.Share, 1.0)
				break
			}
		}
		if len(seen) != c.want {
			t.Errorf("%+v: %d found, want %d", c.filter, len(seen), c.want)
		}
	}
	if _, err := w.Search(ctx, sojourn.Filter{}, "nonsense", 10); !errors.Is(err, sojourn.ErrCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
	if _, err := w.Search(ctx, sojourn.Filter{}, "", 0); !errors.Is(err, sojourn.ErrCursor) {
		t.Errorf("a bad limit: %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := w.Search(stopped, sojourn.Filter{}, "", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}
