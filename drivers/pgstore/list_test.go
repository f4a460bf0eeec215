package pgstore

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// For a list without values, the server doesn't send them.
func TestI11ListFetchesNoValues(t *testing.T) {
	s := openNew(t)
	now := store.TimeOf(time.Now())
	for range 100 {
		rec := newSession("alice", now)
		rec.Values = store.Values(nil).AppendSet(nil, "big", []byte(strconv.Quote(strings.Repeat("x", 256<<10))))
		if _, err := s.Create(t.Context(), "shop", rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"", "alice"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		list, cursor, err := s.List(t.Context(), "shop", store.ListOptions{Subject: subject, Limit: 1000, Now: now})
		runtime.ReadMemStats(&after)
		if err != nil || len(list) != 100 || cursor != "" {
			t.Fatalf("%d sessions, cursor %q, %v", len(list), cursor, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
			t.Errorf("a list of %q took %d KiB", subject, took>>10)
		}
	}
}
