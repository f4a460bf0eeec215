package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// Stats are measurements of a Store.
type Stats struct {
	// ClockOffset is Redis' clock minus this node's, of the shard where they differ most, measured once a second. Deadlines are judged by the nodes' clocks, which
	// therefore should agree; Redis' own is a witness.
	ClockOffset time.Duration

	// UsedMemory and MaxMemory are of the shard that is the fullest; MaxMemory is 0 where there is no limit.
	UsedMemory, MaxMemory int64

	// Gaps counts the times that the feed lost changes, Beats the heartbeats that came back.
	Gaps, Beats uint64

	// Mended counts the sessions that were missing from their subject's index, as after a loss of data, and that a sweep has put back.
	Mended uint64
}

// Stats returns the latest measurements.
func (s *Store) Stats() Stats {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	return Stats{
		ClockOffset: s.watch.offset, UsedMemory: s.watch.used, MaxMemory: s.watch.max,
		Gaps: s.feed.gaps.Load(), Beats: s.feed.beats.Load(), Mended: s.watch.mended.Load(),
	}
}

const (
	monitorEvery = time.Second
	clockApart   = 2 * time.Second // beyond this a warning is due
	minMajor     = 7
)

// A monitor knows what was measured last.
type monitor struct {
	mu      sync.Mutex
	offset  time.Duration
	used    int64
	max     int64
	warned  bool
	visited atomic.Int64 // bytes of anonymous sessions since the last measurement
	mended  atomic.Uint64

	histories string // of the masters that answered, see mend.go

	evicting string // what is wrong with the policy of a shard; empty: nothing
	deaf     string // why the feed isn't allowed to listen; empty: it is, as far as is known
}

var _ store.Warner = (*Store)(nil)

// Warnings implements store.Warner.
func (s *Store) Warnings() (list []store.Warning) {
	m := &s.watch
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.evicting != "" {
		list = append(list, store.Warning{Code: "eviction", Text: m.evicting})
	}
	if m.deaf != "" {
		list = append(list, store.Warning{Code: "tracking", Text: m.deaf})
	}
	if m.warned {
		list = append(list, store.Warning{Code: "clock", Text: fmt.Sprintf("the clocks of Redis and of this machine differ by %v: check their time service", m.offset.Abs().Round(time.Millisecond))})
	}
	return list
}

// noteFeed notes whether the feed may listen. err is the result of a heartbeat.
func (m *monitor) noteFeed(err error, log *slog.Logger) {
	text := ""
	switch {
	case hasCode(err, "NOPERM"), errors.Is(err, rueidis.ErrNoCache):
		text = "Redis doesn't let the change feed listen, so every read goes to Redis: " + rightsHint
	case err != nil:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.deaf, text, log)
}

// change sets what is wrong. It logs when that begins, and when it is over.
func change(before *string, now string, log *slog.Logger) {
	switch {
	case *before == "" && now != "":
		log.Warn("redisstore: " + now)
	case *before != "" && now == "":
		log.Info("redisstore: it is over: " + *before)
	}
	*before = now
}

// evicts says what is wrong with a shard's policy; empty if nothing is.
func (d *shard) evicts() string {
	if d.max <= 0 || d.policy == "noeviction" {
		return ""
	}
	return fmt.Sprintf("%s has the maxmemory-policy %s, by which it drops sessions when memory gets short: set maxmemory-policy noeviction", d.addr, d.policy)
}

// known returns the histories of the masters, as the last measurement found them.
func (m *monitor) known() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.histories
}

// hasRoomForVisitors reports whether anonymous sessions may be created: up to nine tenths of the memory.
func (m *monitor) hasRoomForVisitors(size int) bool {
	const overhead = 1024 // of a session and its indexes: generously, as twice the values is
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.max <= 0 {
		return true
	}
	return m.used+m.visited.Add(int64(2*size+overhead)) < m.max/10*9
}

// A shard is what Redis says of itself.
type shard struct {
	addr, version, policy string
	history               string // of a master
	used, max             int64
	offset                time.Duration
}

// shards asks every node. One that doesn't answer is left out, unless none does.
func (s *Store) shards(ctx context.Context) ([]shard, error) {
	var mu sync.Mutex
	var list []shard
	var errs []error
	var wg sync.WaitGroup
	for addr, node := range s.client.Nodes() {
		wg.Go(func() {
			d, err := ask(ctx, addr, node)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			list = append(list, d)
		})
	}
	wg.Wait()
	if len(list) == 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

func ask(ctx context.Context, addr string, node rueidis.Client) (d shard, err error) {
	before := time.Now()
	results := node.DoMulti(ctx, node.B().Time().Build(),
		node.B().Info().Section("server").Build(), node.B().Info().Section("memory").Build(),
		node.B().Info().Section("replication").Build()) // Redis before 7 takes one section only
	took := time.Since(before)
	clock, err := results[0].AsStrSlice()
	if err != nil {
		return d, err
	}
	if len(clock) != 2 {
		return d, errAnswer
	}
	seconds, err1 := strconv.ParseInt(clock[0], 10, 64)
	micros, err2 := strconv.ParseInt(clock[1], 10, 64)
	server, err3 := results[1].ToString()
	memory, err4 := results[2].ToString()
	replication, err5 := results[3].ToString()
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return d, err
	}
	d = shard{addr: addr, offset: time.Unix(seconds, micros*1000).Sub(before.Add(took / 2))}
	role, history := "", ""
	for line := range strings.Lines(server + memory + replication) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			d.version = value
		case "used_memory":
			d.used, _ = strconv.ParseInt(value, 10, 64)
		case "maxmemory":
			d.max, _ = strconv.ParseInt(value, 10, 64)
		case "maxmemory_policy":
			d.policy = value
		case "role":
			role = value
		case "master_replid":
			history = value
		}
	}
	if role == "master" {
		d.history = history
	}
	return d, nil
}

// examine refuses a Redis that can't hold sessions.
func (s *Store) examine(ctx context.Context) error {
	list, err := s.shards(ctx)
	if err != nil {
		return s.read(ctx, err)
	}
	for _, d := range list {
		major, _, _ := strings.Cut(d.version, ".")
		if n, err := strconv.Atoi(major); err != nil || n < minMajor {
			return fmt.Errorf("redisstore: %s is Redis %s: 7.0 or newer is needed", d.addr, d.version)
		}
		if wrong := d.evicts(); wrong != "" {
			return fmt.Errorf("redisstore: %s", wrong)
		}
	}
	s.note(list)
	return nil
}

// note keeps what was measured, and warns once.
func (s *Store) note(list []shard) {
	m := &s.watch
	m.mu.Lock()
	defer m.mu.Unlock()
	m.histories = historiesOf(list)
	m.offset, m.used, m.max = 0, 0, 0
	m.visited.Store(0)
	evicting := ""
	for _, d := range list {
		evicting = cmp.Or(evicting, d.evicts())
		if d.offset.Abs() > m.offset.Abs() {
			m.offset = d.offset
		}
		if d.max > 0 && (m.max == 0 || float64(d.used)/float64(d.max) > float64(m.used)/float64(m.max)) {
			m.used, m.max = d.used, d.max
		}
		if d.max == 0 && m.max == 0 {
			m.used = max(m.used, d.used)
		}
	}
	change(&m.evicting, evicting, s.log)
	apart := m.offset.Abs() > clockApart
	if apart && !m.warned {
		s.log.Warn("redisstore: the clocks of Redis and of this machine differ: nodes whose clocks differ disagree about what has expired", "offset", m.offset)
	}
	m.warned = apart
}

// historiesOf names the histories of the masters: by their beginnings, which are random and enough to tell them apart.
func historiesOf(list []shard) string {
	var names []string
	for _, d := range list {
		if d.history != "" {
			names = append(names, d.history[:min(len(d.history), 10)])
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// monitor measures while the store is open.
func (s *Store) monitor() {
	every := time.NewTicker(monitorEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, monitorEvery)
		if list, err := s.shards(ctx); err == nil && len(list) > 0 {
			s.note(list)
		}
		cancel()
	}
}
