package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	// ClockOffset is Redis' clock minus this node's, measured once a second, of
	// the shard where they differ most. The nodes' clocks judge deadlines, so they
	// should agree. Redis' clock shows whether this node's is right.
	ClockOffset time.Duration

	// UsedMemory and MaxMemory, in bytes, are of the shard with the least room.
	// MaxMemory is 0 if there is no limit.
	UsedMemory, MaxMemory int64

	// Gaps counts the times that the feed lost changes. Beats counts the heartbeats
	// that came back.
	Gaps, Beats uint64

	// Mended counts the sessions that were missing from their subjects' indexes, as
	// after a loss of data, and that a sweep has put back.
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

// A monitor holds the latest measurements.
type monitor struct {
	visited atomic.Int64  // bytes of anonymous sessions since the last measurement
	mended  atomic.Uint64 // see Stats

	mu        sync.Mutex // guards the fields below
	offset    time.Duration
	used      int64
	max       int64
	histories string            // of the masters that answered, see mend.go
	warnings  map[string]string // what is wrong at present, by code
}

var _ store.Warner = (*Store)(nil)

// Warnings implements store.Warner.
func (s *Store) Warnings() (list []store.Warning) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	for _, code := range slices.Sorted(maps.Keys(s.watch.warnings)) {
		list = append(list, store.Warning{Code: code, Text: s.watch.warnings[code]})
	}
	return list
}

// warn sets a warning, or removes it if text is empty. It logs when the warning
// begins and when it ends. The caller holds the mutex.
func (m *monitor) warn(code, text string, log *slog.Logger) {
	before := m.warnings[code]
	if text == "" {
		delete(m.warnings, code)
	} else {
		m.warnings[code] = text
	}
	switch {
	case before == "" && text != "":
		log.Warn("redisstore: " + text)
	case before != "" && text == "":
		log.Info("redisstore: no longer true: " + before)
	}
}

// noteFeed notes whether Redis lets the feed listen. err is the result of a
// heartbeat.
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
	m.warn("tracking", text, log)
}

// evicts returns what is wrong with a shard's policy, or "".
func (d *shard) evicts() string {
	if d.max <= 0 || d.policy == "noeviction" {
		return ""
	}
	return fmt.Sprintf("%s has the maxmemory-policy %s, so it drops sessions when memory gets short: set maxmemory-policy noeviction", d.addr, d.policy)
}

// known returns the histories of the masters at the last measurement.
func (m *monitor) known() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.histories
}

// hasRoomForVisitors reports whether an anonymous session may be created: below
// nine tenths of maxmemory.
func (m *monitor) hasRoomForVisitors(size int) bool {
	const overhead = 1024 // of a session and its indexes; rounded up, as twice the values is
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.max <= 0 {
		return true
	}
	return m.used+m.visited.Add(int64(2*size+overhead)) < m.max/10*9
}

// A shard is what a node of Redis reports about itself.
type shard struct {
	addr, version, policy string
	history               string // empty for a replica
	used, max             int64
	offset                time.Duration
}

// shards asks every node. It leaves out those that don't answer, unless none
// does.
func (s *Store) shards(ctx context.Context) (list []shard, err error) {
	type answer struct {
		shard shard
		err   error
	}
	nodes := s.client.Nodes()
	answers := make(chan answer, len(nodes))
	for addr, node := range nodes {
		go func() {
			d, err := ask(ctx, addr, node)
			answers <- answer{d, err}
		}()
	}
	for range nodes {
		if a := <-answers; a.err != nil {
			err = errors.Join(err, a.err)
		} else {
			list = append(list, a.shard)
		}
	}
	if len(list) > 0 {
		err = nil
	}
	return list, err
}

func ask(ctx context.Context, addr string, node rueidis.Client) (d shard, err error) {
	before := time.Now()
	results := node.DoMulti(ctx, node.B().Time().Build(), node.B().Info().Build())
	took := time.Since(before)
	clock, err1 := results[0].AsIntSlice()
	info, err2 := results[1].ToString()
	if err := errors.Join(err1, err2); err != nil {
		return d, err
	}
	if len(clock) != 2 {
		return d, errAnswer
	}
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	d = shard{addr: addr, version: fields["redis_version"], policy: fields["maxmemory_policy"],
		offset: time.Unix(clock[0], clock[1]*1000).Sub(before.Add(took / 2))}
	d.used, _ = strconv.ParseInt(fields["used_memory"], 10, 64)
	d.max, _ = strconv.ParseInt(fields["maxmemory"], 10, 64)
	if fields["role"] == "master" {
		d.history = fields["master_replid"]
	}
	return d, nil
}

// examine returns an error if Redis can't hold sessions.
func (s *Store) examine(ctx context.Context) error {
	list, err := s.shards(ctx)
	if err != nil {
		return s.readError(ctx, err)
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

// note stores measurements and logs what changes about the warnings.
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
	m.warn("eviction", evicting, s.log)
	clock := ""
	if m.offset.Abs() > clockApart {
		clock = fmt.Sprintf("the clocks of Redis and of this machine differ by %v: check their time service", m.offset.Abs().Round(time.Millisecond))
	}
	m.warn("clock", clock, s.log)
}

// historiesOf names the histories of the masters, by their beginnings. They are
// random, so ten characters are enough to distinguish them.
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

// monitor measures once a second while the store is open.
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
