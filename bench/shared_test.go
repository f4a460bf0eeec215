package main

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var tinyShared = sharedScale{
	disk: 100e6, bound: time.Minute, hot: 256,
	reads:    loadScale{goroutines: []int{1, 2}, rounds: 1, slice: time.Millisecond},
	requests: loadScale{goroutines: []int{1, 2}, rounds: 1, slice: time.Millisecond},
	writes:   loadScale{goroutines: []int{1, 2}, rounds: 1, slice: time.Millisecond},
	ends:     endsScale{ends: 12, workers: 2},
	limit:    2,
	logins:   loginScale{loadScale{goroutines: []int{1, 2}, rounds: 1, slice: time.Millisecond, stock: 2}, 4},
	subject:  subjectScale{sessions: 20, rounds: 2},
	costs:    costScale{ops: 20, idle: 10 * time.Millisecond},
	many: manyScale{few: 50, sessions: 150, fill: time.Minute, sweep: time.Minute, pages: 1,
		loads: loadScale{goroutines: []int{2}, rounds: 1, slice: time.Millisecond}},
}

// fakeBackend is a store in this process that is shared by nodes of this process.
func fakeBackend(name string, limits ...string) *backend {
	var mu sync.Mutex
	spaces := map[string]*memstore.Store{}
	open := func(_ context.Context, space string) (sharedStore, error) {
		mu.Lock()
		defer mu.Unlock()
		if spaces[space] == nil {
			spaces[space] = memstore.New()
		}
		return &fakeNode{Store: spaces[space], beats: make(chan uint64, 100)}, nil
	}
	none := func(context.Context) (spent, error) { return spent{}, nil }
	return &backend{
		name: name, open: open, hurry: open, spent: none,
		kept: func(_ context.Context, space string) (int64, error) { return 1, nil },
		limitOfReads: func(ctx context.Context, space string, smp samples, n int) ([]load, error) {
			s, err := open(ctx, space)
			return []load{getLoad(limits[0], smp, n, 1, true, s)}, err
		},
		limitOfWrites: func(ctx context.Context, _ string, n int) (load, error) {
			return load{name: limits[1], hand: func(w int) func() error {
				return perWriter(w, n, func(int, int) error { return nil })
			}}, nil
		},
	}
}

// A fakeNode is one node's handle. Closing it leaves the store to the others.
type fakeNode struct {
	*memstore.Store
	beats chan uint64
}

func (n *fakeNode) Close() error { return nil }

func (n *fakeNode) Beat(_ context.Context, beat uint64) error {
	n.beats <- beat
	return nil
}

// Watch reports a heartbeat after all that was in the store's own feed when it was sent.
func (n *fakeNode) Watch(ctx context.Context) (<-chan store.Change, error) {
	changes, err := n.Store.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan store.Change, 1<<16)
	go func() {
		defer close(out)
		for {
			select {
			case beat := <-n.beats:
				for range len(changes) {
					out <- <-changes
				}
				out <- store.Change{Kind: store.Beat, Revision: beat}
			case c, ok := <-changes:
				if !ok {
					return
				}
				out <- c
			}
		}
	}()
	return out, nil
}

// Every part runs on stores that do what they should, and its report holds the goals.
func TestSharedPartsOnFakes(t *testing.T) {
	s := &sharedRun{
		s: tinyShared, servers: new(servers), say: quiet, samples: samples{store.TimeOf(time.Now())},
		backends: []*backend{fakeBackend(redisDriver, rawGet, rawScript), fakeBackend(pgDriver, rawSelect, rawUpdate)},
	}
	for name, part := range s.parts() {
		if name == "requests" {
			continue // the peers need servers
		}
		if err := part(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, l := range s.r.Limits {
		if l.Exact != 2 || l.Least != lowLimit || l.Most != lowLimit {
			t.Errorf("races at the limit: %+v", l)
		}
	}
	for _, e := range s.r.Ends {
		if e.Ack.Requests != 12 || e.Seen.Requests != 24 || e.Seen.P99 <= 0 {
			t.Errorf("ends: %+v", e)
		}
	}
	for _, m := range s.r.Many {
		if m.Sessions != 150 || !m.Swept || len(m.Ops) != 3 {
			t.Errorf("many: %+v", m)
		}
	}
	if n := len(s.r.Costs); n != 11+10 {
		t.Errorf("%d costs, want 21", n)
	}
	var text strings.Builder
	(&report{Header: newHeader(), Shared: &s.r}).write(&text, true)
	for _, want := range []string{"at most 2 times memstore", "at most 1.3 times raw GET", "at most 1.3 times raw SELECT", "at most 1.5 times raw EVALSHA",
		"p99 under 10ms", "p99 under 20ms", "leave exactly 3", "log in as a visitor with a session, at the limit", "page of a subject", "A plan for 100 M sessions"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

// What doesn't do what is measured is an error, not a figure.
func TestSharedPartsFailWithTheStore(t *testing.T) {
	broken := errors.New("broken")
	for name, wrong := range map[string]func(*brokenNode){
		"end":    func(n *brokenNode) { n.end = broken },
		"reads":  func(n *brokenNode) { n.get = broken },
		"update": func(n *brokenNode) { n.update = broken },
	} {
		t.Run(name, func(t *testing.T) {
			b := fakeBackend(redisDriver, rawGet, rawScript)
			open := b.open
			b.open = func(ctx context.Context, space string) (sharedStore, error) {
				s, err := open(ctx, space)
				n := &brokenNode{sharedStore: s}
				wrong(n)
				return n, err
			}
			s := &sharedRun{s: tinyShared, say: quiet, samples: samples{store.TimeOf(time.Now())}, backends: []*backend{b}}
			part := map[string]string{"end": "ends", "reads": "reads", "update": "writes"}[name]
			if err := s.parts()[part](t.Context()); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
		})
	}
}

type brokenNode struct {
	sharedStore
	get, update, end error
}

func (n *brokenNode) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	return errors.Join(n.get, n.sharedStore.Get(ctx, app, id, strict, rec))
}

func (n *brokenNode) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	ended, err := n.sharedStore.Update(ctx, app, rec, opt)
	return ended, errors.Join(n.update, err)
}

func (n *brokenNode) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	ended, err := n.sharedStore.End(ctx, app, id, reason, at)
	return ended, errors.Join(n.end, err)
}

// Every part runs on the real servers with the real drivers; nothing is left behind.
func TestSharedParts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	dir := t.TempDir()
	if err := checkDisk(dir, 0); errors.Is(err, errInMemory) {
		t.Skip("needs a disk: the directory for temporary files is in memory")
	}
	for _, up := range []string{dir, filepath.Dir(dir)} { // PostgreSQL's user enters them
		if err := os.Chmod(up, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	r, err := measureShared(t.Context(), options{scale: scale{shared: tinyShared}, dir: dir}, quiet)
	servertest.Check(t, err)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, c := range r.Costs {
		if c.Op != costRead && c.Op != costIdle && c.log <= 0 {
			t.Errorf("a write that logs nothing: %+v", c)
		}
	}
	for _, m := range r.Many {
		if m.Bytes < 300 {
			t.Errorf("%s: %v bytes for a session that holds more", m.Store, m.Bytes)
		}
	}
}

// The peers on the servers do what they are measured for.
func TestSharedPeers(t *testing.T) {
	sv, err := startServers(t.Context(), "")
	servertest.Check(t, err)
	defer sv.close()
	for _, who := range sv.peers(t.Context()) {
		site, err := who.open()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range sharedCases {
			if _, err := c.visitor(site); err != nil {
				t.Errorf("%s, %s: %v", who.name, c.name, err)
			}
		}
		if err := site.visitor().send(readTheme); err == nil {
			t.Errorf("%s: a visitor without a session read the right value", who.name)
		}
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLoads(t *testing.T) {
	stocked, calls := 0, 0
	l := load{name: "x", batch: 4, hand: func(int) func() error {
		return func() error { calls++; return nil }
	}, stock: func(_ context.Context, n int) error { stocked += n; return nil }}
	s := loadScale{goroutines: []int{1}, rounds: 3, slice: time.Hour, stock: 5}
	all, err := compareAllLoads(t.Context(), "work", []load{l}, s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	x, ok := all[0].of("x")
	if !ok || stocked != 15 || calls != 15 || x.Latencies.Requests != 15 || x.Ns <= 0 {
		t.Errorf("stocked %d, called %d times: %+v", stocked, calls, all)
	}
}

func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		err := bounded(t.Context(), time.Minute, func(context.Context) error { <-hang; return nil })
		if err == nil || !strings.Contains(err.Error(), "1m0s") {
			t.Errorf("error %v", err)
		}
		close(hang)
		if err := bounded(t.Context(), time.Minute, func(context.Context) error { return io.EOF }); !errors.Is(err, io.EOF) {
			t.Errorf("error %v", err)
		}
	})
}

// The plan's arithmetic, on costs that are easy to follow.
func TestScalePlan(t *testing.T) {
	p := scalePlan{sessions: 1e6, checks: 9000, gap: 10, writes: 0.1, logins: 5, perNode: 4000, busy: 0.5, shard: 1e9}
	rates := p.rates() // 90,000 browsers in use: 1,500 touches and 100 rotations a second
	for op, want := range map[string]float64{costTouch: 1500, costRotate: 100, costNotice: 200, costRead: 1500 + 900, costUpdate: 900, costLogin: 5, costMend: 1e6 / 3600.0} {
		if rates[op] != want {
			t.Errorf("%s: %v a second, want %v", op, rates[op], want)
		}
	}
	if p.nodes() != 3 || p.changes() != 900+100+200+3*5 {
		t.Errorf("%v nodes, %v changes", p.nodes(), p.changes())
	}
	costs := map[string]spent{
		costRead: {cpu: time.Microsecond, in: 1, out: 10}, costTouch: {cpu: time.Microsecond}, costUpdate: {cpu: 10 * time.Microsecond, out: 5, log: 7},
		costHeard: {cpu: 130 * time.Microsecond, out: 125, log: 9}, costMend: {cpu: 36 * time.Microsecond},
	}
	rows := p.rows(costs)
	read, told, all := rows[0], rows[len(rows)-3], rows[len(rows)-1]
	if read.out != 24_000 || read.cores != 0.0024 {
		t.Errorf("reads: %+v", read)
	}
	if told.rate != 3*1215 || told.each != 10*time.Microsecond || told.out != 3*1215*10 {
		t.Errorf("the feed: %+v", told)
	}
	if want := 0.0024 + 0.0015 + 0.009 + 0.03645 + 0.01; math.Abs(all.cores-want) > 1e-9 || all.log != 6300 {
		t.Errorf("all: %+v, want %v cores", all, want)
	}
	if note := p.note(manyResult{Store: redisDriver, Bytes: 2500}, 0.5); !strings.Contains(note, "2.50 GB") || !strings.Contains(note, "sessions: 3,") {
		t.Error(note)
	}
}
