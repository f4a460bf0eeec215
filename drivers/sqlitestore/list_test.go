package sqlitestore

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// A list without values takes no memory for them. SQLite still reads their
// pages, because it compares whole records to find a key.
func TestI11ListTakesNoValues(t *testing.T) {
	s := open(t)
	defer s.Close()
	big := store.Values(nil).AppendSet(nil, "big", []byte(strconv.Quote(strings.Repeat("x", 256<<10))))
	for i := range 100 {
		rec := session(i, "ada", present)
		rec.Values = big
		create(t, s, rec)
	}
	closeStore(t, s)
	for _, subject := range []string{"", "ada"} {
		s := openAt(t, s.Path()) // with an empty page cache
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		list, cursor, err := s.List(t.Context(), "shop", store.ListOptions{Subject: subject, Limit: 1000, Now: present})
		runtime.ReadMemStats(&after)
		if err != nil || len(list) != 100 || cursor != "" {
			t.Fatalf("%d sessions, cursor %q, %v", len(list), cursor, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
			t.Errorf("a list of %q took %d KiB", subject, took>>10)
		}
		closeStore(t, s)
	}
}
