package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

var searchCases = []testCase{
	{"Search/EachCondition", func(f *fixture) {
		recs := searchable(f)
		contains := func(r *store.Record, part string) bool {
			return strings.Contains(r.Client.UserAgent, part) || strings.Contains(r.LastClient.UserAgent, part)
		}
		from := func(r *store.Record, start string) bool {
			return strings.HasPrefix(r.Client.IP.String(), start) || strings.HasPrefix(r.LastClient.IP.String(), start)
		}
		is := func(r *store.Record, ip string) bool {
			return r.Client.IP.String() == ip || r.LastClient.IP.String() == ip
		}
		for i, c := range []struct {
			filter  store.Filter
			matches func(*store.Record) bool
		}{
			{store.Filter{Subject: "alice"}, func(r *store.Record) bool { return r.Subject == "alice" }},
			{store.Filter{Subject: "al"}, func(r *store.Record) bool { return false }},
			{store.Filter{SubjectPrefix: "al"}, func(r *store.Record) bool { return r.Subject == "alice" || r.Subject == "al%ice" }},
			{store.Filter{SubjectPrefix: "alice"}, func(r *store.Record) bool { return r.Subject == "alice" }},
			{store.Filter{SubjectPrefix: "al%"}, func(r *store.Record) bool { return r.Subject == "al%ice" }},
			{store.Filter{SubjectPrefix: "A"}, func(r *store.Record) bool { return r.Subject == "Alice" }},
			{store.Filter{SubjectPrefix: "\xff"}, func(r *store.Record) bool { return r.Subject[:min(1, len(r.Subject))] == "\xff" }},
			{store.Filter{SubjectPrefix: "\xc3"}, func(r *store.Record) bool { return r.Subject == "élise" }},
			{store.Filter{SubjectPrefix: "b\x00"}, func(r *store.Record) bool { return r.Subject == "b\x00b" }},
			{store.Filter{SubjectPrefix: `b\`}, func(r *store.Record) bool { return r.Subject == `b\x00b` }},
			{store.Filter{SubjectPrefix: "al", Remembered: store.Only}, func(r *store.Record) bool { return strings.HasPrefix(r.Subject, "al") && r.Remembered }},
			{store.Filter{LoggedIn: store.Only}, func(r *store.Record) bool { return r.Subject != "" }},
			{store.Filter{LoggedIn: store.Not}, func(r *store.Record) bool { return r.Subject == "" }},
			{store.Filter{LoggedIn: store.Not, SubjectPrefix: "a"}, func(r *store.Record) bool { return false }},
			{store.Filter{Remembered: store.Only}, func(r *store.Record) bool { return r.Remembered }},
			{store.Filter{Remembered: store.Not}, func(r *store.Record) bool { return !r.Remembered }},
			{store.Filter{Bound: store.Only}, func(r *store.Record) bool { return len(r.Binding) > 0 }},
			{store.Filter{Bound: store.Not, SubjectPrefix: "a"}, func(r *store.Record) bool { return len(r.Binding) == 0 && strings.HasPrefix(r.Subject, "a") }},
			{store.Filter{MinLevel: 1}, func(r *store.Record) bool { return r.Level > 0 }},
			{store.Filter{MinLevel: 2}, func(r *store.Record) bool { return r.Level > 1 }},
			{store.Filter{Network: netip.MustParsePrefix("192.0.2.7/32")}, func(r *store.Record) bool { return is(r, "192.0.2.7") }},
			{store.Filter{Network: netip.MustParsePrefix("192.0.2.99/24")}, func(r *store.Record) bool { return from(r, "192.0.2.") }},
			{store.Filter{Network: netip.MustParsePrefix("192.0.2.64/26")}, func(r *store.Record) bool { return from(r, "192.0.2.70") }},
			{store.Filter{Network: netip.MustParsePrefix("192.0.0.0/9")}, func(r *store.Record) bool { return from(r, "192.") }},
			{store.Filter{Network: netip.MustParsePrefix("0.0.0.0/0")}, func(r *store.Record) bool { return r.Client.IP.Is4() || r.LastClient.IP.Is4() }},
			{store.Filter{Network: netip.MustParsePrefix("2001:db8::/32")}, func(r *store.Record) bool { return from(r, "2001:db8:") }},
			{store.Filter{Network: netip.MustParsePrefix("2001:db8::/48")}, func(r *store.Record) bool { return from(r, "2001:db8::") || from(r, "2001:db8:0:") }},
			{store.Filter{Network: netip.MustParsePrefix("2001:db8::7/128")}, func(r *store.Record) bool { return is(r, "2001:db8::7") }},
			{store.Filter{Network: netip.MustParsePrefix("::/0")}, func(r *store.Record) bool { return r.Client.IP.Is6() || r.LastClient.IP.Is6() }},
			{store.Filter{Network: netip.MustParsePrefix("::/1")}, func(r *store.Record) bool { return r.Client.IP.Is6() || r.LastClient.IP.Is6() }},
			{store.Filter{UserAgent: "LAPtop/2"}, func(r *store.Record) bool { return contains(r, "Laptop/2") }},
			{store.Filter{UserAgent: "%"}, func(r *store.Record) bool { return contains(r, "%") }},
			{store.Filter{UserAgent: "_"}, func(r *store.Record) bool { return contains(r, "_") }},
			{store.Filter{UserAgent: `\`}, func(r *store.Record) bool { return contains(r, `\`) }},
			{store.Filter{UserAgent: "x00"}, func(r *store.Record) bool { return contains(r, `x00`) }},
			{store.Filter{UserAgent: "behind"}, func(r *store.Record) bool { return contains(r, "behind") }},
			{store.Filter{UserAgent: "\xff"}, func(r *store.Record) bool { return contains(r, "\xff") }},
			{store.Filter{UserAgent: "ü"}, func(r *store.Record) bool { return contains(r, "ü") }},
			{store.Filter{UserAgent: "Ü"}, func(r *store.Record) bool { return contains(r, "Ü") }},
			{store.Filter{CreatedFrom: t0 + 10}, func(r *store.Record) bool { return r.CreatedAt >= t0+10 }},
			{store.Filter{CreatedTo: t0 + 10}, func(r *store.Record) bool { return r.CreatedAt < t0+10 }},
			{store.Filter{CreatedFrom: t0 + 5, CreatedTo: t0 + 10}, func(r *store.Record) bool { return r.CreatedAt >= t0+5 && r.CreatedAt < t0+10 }},
			{store.Filter{CreatedFrom: t0 + 10, CreatedTo: t0 + 5}, func(r *store.Record) bool { return false }},
			{store.Filter{CreatedFrom: 1 << 50}, func(r *store.Record) bool { return false }},
			{store.Filter{CreatedTo: 1 << 50}, func(r *store.Record) bool { return true }},
			{store.Filter{CreatedFrom: -5}, func(r *store.Record) bool { return true }},
			{store.Filter{CreatedTo: -5}, func(r *store.Record) bool { return false }},
			{store.Filter{SeenFrom: t0 + 100}, func(r *store.Record) bool { return r.LastSeenAt >= t0+100 }},
			{store.Filter{SeenTo: t0 + 100}, func(r *store.Record) bool { return r.LastSeenAt < t0+100 }},
			{store.Filter{SeenTo: t0 + 100, LoggedIn: store.Only, UserAgent: "phone", MinLevel: 1, Network: netip.MustParsePrefix("192.0.2.7/32")},
				func(r *store.Record) bool {
					return r.LastSeenAt < t0+100 && r.Subject != "" && contains(r, "Phone") && r.Level >= 1 && is(r, "192.0.2.7")
				}},
		} {
			var want []*store.Record
			for _, rec := range recs {
				if c.matches(rec) {
					want = append(want, rec)
				}
			}
			if i%5 == 0 { // some of each kind
				f.wantFound(c.filter, t0+200, want, [2]int{3, 7}, [2]int{20, 20})
				continue
			}
			f.wantFound(c.filter, t0+200, want)
		}
		f.in("blog").wantFound(store.Filter{UserAgent: "phone", LoggedIn: store.Not}, t0, nil)
		f.in("nowhere").wantFound(store.Filter{SubjectPrefix: "a"}, t0, nil)
		f.in("nowhere").wantFound(store.Filter{}, t0, nil)
	}},
	{"Search/OnlyTheLive", func(f *fixture) {
		ended, idle, live := session("alice"), session("alice"), sessionAt("alice", t0+1)
		for _, rec := range []*store.Record{ended, idle, live} {
			f.create(rec)
		}
		f.end(ended, store.ReasonLogout, t0)
		for _, filter := range []store.Filter{{SubjectPrefix: "al"}, {UserAgent: "phone"}, {}} {
			f.wantFound(filter, t0+hour-1, []*store.Record{idle, live})
			f.wantFound(filter, t0+hour, []*store.Record{live})
		}
		f.wantCount(2, 2) // Search ends nothing
		f.must(f.s.EndAll(f.ctx, app, t0))
		for _, filter := range []store.Filter{{SubjectPrefix: "al"}, {UserAgent: "phone"}, {}} {
			f.wantFound(filter, t0+2, []*store.Record{live})
		}
	}},
	{"Search/BadOptions", func(f *fixture) {
		for i := range 30 {
			f.create(session([]string{"alice", "albert", ""}[i%3]))
		}
		for _, filter := range []store.Filter{{}, {SubjectPrefix: "al"}, {Subject: "alice"}} {
			opt := store.SearchOptions{Filter: filter, Limit: 2, Scan: 2, Now: t0}
			page, err := store.Search(f.ctx, f.s, app, opt)
			if err != nil || page.Cursor == "" {
				f.Fatalf("%+v: %+v, %v", filter, page, err)
			}
			bad := []string{"x", "nonsense", "\x00", "\x001.", "\x000.00", ".", "l", "l1", "l1.", "l-1.a", "i1.", "p1.", "p1.ff", "i1.0g", "i99999999999999999999.00", strings.Repeat("9", 1000), page.Cursor + "zz", page.Cursor[1:]}
			for _, cursor := range bad {
				opt.Cursor = cursor
				if page, err := store.Search(f.ctx, f.s, app, opt); !errors.Is(err, store.ErrCursor) {
					f.Errorf("%+v: the cursor %q: %+v, %v", filter, cursor, page, err)
				}
			}
			for i := range page.Cursor { // nothing but ErrCursor, and no panic
				opt.Cursor = page.Cursor[:i] + string(page.Cursor[i]^1) + page.Cursor[i+1:]
				if _, err := store.Search(f.ctx, f.s, app, opt); err != nil && !errors.Is(err, store.ErrCursor) {
					f.Errorf("%+v: the cursor %q: %v", filter, opt.Cursor, err)
				}
			}
			for _, limits := range [][2]int{{0, 10}, {-1, 10}, {store.MaxPage + 1, 10}, {10, 0}, {10, -1}, {10, store.MaxScan + 1}} {
				opt := store.SearchOptions{Filter: filter, Limit: limits[0], Scan: limits[1], Now: t0}
				if _, err := store.Search(f.ctx, f.s, app, opt); !errors.Is(err, store.ErrCursor) {
					f.Errorf("a limit of %d, %d to examine: %v", limits[0], limits[1], err)
				}
			}
		}
	}},
	{"Search/DuringChanges", func(f *fixture) {
		// A session that lives and matches during the whole search is found once,
		// whatever happens to other sessions, and to it.
		for _, filter := range []store.Filter{{SubjectPrefix: "al"}, {LoggedIn: store.Only}, {}} {
			var kept, others []*store.Record
			for i := range 40 {
				kept = append(kept, f.create(sessionAt([]string{"alice", "albert"}[i%2], t0+store.Time(i))))
				others = append(others, f.create(sessionAt([]string{"alice", "al"}[i%2], t0+store.Time(i))))
			}
			opt := store.SearchOptions{Filter: filter, Limit: 4, Scan: 3, Now: t0 + 40}
			f.wantEachOnce(fmt.Sprintf("search by %+v", filter), kept, others, "alan", func() ([]store.Record, bool) {
				page, err := store.Search(f.ctx, f.s, app, opt)
				f.must(err)
				opt.Cursor = page.Cursor
				return page.Records, page.Cursor != ""
			})
			for _, subject := range []string{"alice", "albert", "al", "alan"} {
				f.endSubject(subject, 0)
			}
		}
	}},
	{"Search/Bounded", func(f *fixture) {
		// A call that finds nothing returns after about as many sessions as it may
		// examine.
		for i := range 500 {
			f.create(sessionAt([]string{"", "user"}[i%2], t0+store.Time(i)))
		}
		for _, filter := range []store.Filter{{UserAgent: "nobody's"}, {MinLevel: 3}, {SubjectPrefix: "user", MinLevel: 3}} {
			var before int64
			opt := store.SearchOptions{Filter: filter, Limit: 100, Scan: 50, Now: t0 + 500}
			for calls := 0; ; calls++ {
				page, err := store.Search(f.ctx, f.s, app, opt)
				f.must(err)
				if n := page.Examined - before; n > 100 || len(page.Records) > 0 || page.Share < 0 || page.Share > 1 || calls > 30 {
					f.Fatalf("call %d of a search of %+v examined %d sessions: %+v", calls, filter, n, page)
				}
				before = page.Examined
				if opt.Cursor = page.Cursor; opt.Cursor != "" {
					continue
				}
				if calls < 4 || page.Share != 1 || before < 250 || before > 550 {
					f.Fatalf("%+v: %d calls, %+v", filter, calls, page)
				}
				break
			}
		}
	}},
}

// searchable creates sessions that differ in what a filter looks at, and some
// that no search may find. It returns the others.
func searchable(f *fixture) (recs []*store.Record) {
	ips := []netip.Addr{phone.IP, netip.MustParseAddr("192.0.2.70"), netip.MustParseAddr("10.1.2.3"), laptop.IP, netip.MustParseAddr("2001:db8:0:1::7"), netip.MustParseAddr("2001:db8:1::"), netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:192.0.2.7"), {}}
	agents := []string{"Phone/1.0", "Laptop/2.0 (X11; Linux)", "100 % _ ", `a\x00b`, "nul\x00behind", "\xffraw", "Ünique", "ü", ""}
	subjects := []string{"alice", "", "Alice", "al%ice", "", "b\x00b", `b\x00b`, "\xff", "\xff\xff", "élise", "bob", "a"}
	for i := range 72 {
		at := t0 + store.Time(i%20)
		rec := sessionAt(subjects[i%len(subjects)], at)
		rec.Client = store.Client{IP: ips[i%len(ips)], UserAgent: agents[i/3%len(agents)]}
		rec.LastClient = rec.Client
		if i%4 == 0 {
			rec.LastClient = store.Client{IP: ips[(i+1)%len(ips)], UserAgent: agents[(i+2)%len(agents)]}
			rec.LastSeenAt = t0 + store.Time(3*i)
		}
		rec.Remembered, rec.Level = i%5 == 0, uint8(i%4)
		rec.Binding = make([]byte, i%3)
		f.create(rec)
		recs = append(recs, rec)
		f.in("blog").create(sessionAt("alice", at))
		if i%10 == 0 {
			gone := sessionAt(rec.Subject, at)
			f.create(gone)
			f.end(gone, store.ReasonLogout, at)
			expired := sessionAt(rec.Subject, at)
			expired.ExpiresAt = t0 + 150
			f.create(expired)
		}
	}
	return recs
}

// wantFound checks what searches with a filter find: in the largest pages, and in
// pages of the given limits and numbers of sessions to examine.
func (f *fixture) wantFound(filter store.Filter, now store.Time, want []*store.Record, sizes ...[2]int) {
	f.Helper()
	slices.SortFunc(want, func(a, b *store.Record) int { return a.ID.Compare(b.ID) })
	for _, size := range append(sizes, [2]int{store.MaxPage, 200}) {
		got := f.search(filter, size[0], size[1], now)
		same := len(got) == len(want)
		for i := range want {
			if same {
				bare := clone(want[i])
				bare.Values = nil
				same = got[i].Equal(bare)
			}
		}
		if !same {
			f.Fatalf("%+v in pages of %v, %d found, want %d:\n got %s\nwant %s", filter, size, len(got), len(want), fmt.Sprintf("%+v", got), deref(want))
		}
	}
}

// search returns what a whole search finds, in the order of the IDs.
func (f *fixture) search(filter store.Filter, limit, scan int, now store.Time) (all []store.Record) {
	f.Helper()
	opt := store.SearchOptions{Filter: filter, Limit: limit, Scan: scan, Now: now}
	for range 100_000 {
		page, err := store.Search(f.ctx, f.s, f.app, opt)
		if err != nil {
			f.Fatalf("Search of %+v with the cursor %q: %v", filter, opt.Cursor, err)
		}
		if len(page.Records) > limit {
			f.Fatalf("Search returned %d sessions, above the limit of %d", len(page.Records), limit)
		}
		for i := range page.Records {
			if len(page.Records[i].Values) > 0 {
				f.Fatal("Search returned values")
			}
		}
		all = append(all, page.Records...)
		if opt.Cursor = page.Cursor; opt.Cursor == "" {
			slices.SortFunc(all, func(a, b store.Record) int { return a.ID.Compare(b.ID) })
			return all
		}
	}
	f.Fatalf("Search of %+v does not end", filter)
	return nil
}
