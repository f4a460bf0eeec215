package redisstore

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// For a list without values, Redis does not send the values.
func TestI11ListFetchesNoValues(t *testing.T) {
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openAt(t, r.URL(), Options{})
	for range 100 {
		rec := session("ada")
		rec.Values = store.Values(nil).AppendSet(nil, "big", []byte(strconv.Quote(strings.Repeat("x", 256<<10))))
		create(t, s, rec)
	}
	sent := func() int {
		t.Helper()
		stats, err := r.Do("INFO", "stats")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(regexp.MustCompile(`total_net_output_bytes:(\d+)`).FindStringSubmatch(stats.(string))[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, subject := range []string{"", "ada"} {
		before := sent()
		list, cursor, err := s.List(t.Context(), app, store.ListOptions{Subject: subject, Limit: 1000, Now: t0})
		if err != nil || len(list) != 100 || cursor != "" {
			t.Fatalf("%d sessions, cursor %q, %v", len(list), cursor, err)
		}
		if n := sent() - before; n > 1<<20 {
			t.Errorf("for a list of %q Redis sent %d KiB", subject, n>>10)
		}
	}
	before := sent()
	page, err := s.Search(t.Context(), app, store.SearchOptions{Limit: 1000, Scan: 1000, Now: t0})
	if n := sent() - before; err != nil || len(page.Records) != 100 || page.Cursor != "" || n > 1<<20 {
		t.Errorf("a search found %d sessions, cursor %q, %v; Redis sent %d KiB", len(page.Records), page.Cursor, err, n>>10)
	}
}

// A search reads the beginnings of records. A record whose values begin later is
// read whole, and the sessions around it too.
func TestSearchOfLongRecords(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	for i := range 30 {
		rec := session("ada")
		rec.ID[15] = byte(i % 3) // three buckets
		if i%2 == 0 {
			rec.Client.UserAgent = strings.Repeat("x", 700*i) + "end"
		}
		rec.LastClient = rec.Client
		create(t, s, rec)
	}
	page, err := s.Search(t.Context(), app, store.SearchOptions{Filter: store.Filter{UserAgent: "xend"}, Limit: 100, Scan: 100, Now: t0})
	if err != nil || len(page.Records) != 14 || page.Examined != 30 {
		t.Fatalf("%d found, %d examined, %v", len(page.Records), page.Examined, err)
	}
}
