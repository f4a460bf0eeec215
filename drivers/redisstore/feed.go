package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// The feed listens on one connection to each master. On it Redis sends the name
// of every key that is written under the feed's prefix: in the order of the
// writes, and before it acknowledges them.
//
// Breaks tell what may be lost: a connection was made or lost, a master became
// responsible for other buckets, or the cluster's epoch changed. After a break
// changes may have been missed until the feed listens again. So the feed reports
// a gap before the next heartbeat that comes back and was sent after the last
// break.
//
// A heartbeat writes a key of its own on each of the feed's connections. Redis'
// message about it follows all messages that Redis sent before. On a cluster the
// heartbeat also asks each master for each of its buckets; a master refuses that
// if the bucket is elsewhere or is moving.
type feed struct {
	s        *Store
	name     string // of this feed's heartbeats
	timeout  time.Duration
	topology topology
	out      driver.Feed

	gaps, beats atomic.Uint64
	wake        chan struct{} // tells watch that something was lost

	mu      sync.Mutex // guards the fields below
	closed  bool
	started bool
	breaks  uint64 // how many there were
	lost    bool   // a gap is due
	pending []*heartbeat
}

// A heartbeat is pending until all that it waits for has come. The feed's mutex
// guards it.
type heartbeat struct {
	n       uint64
	silent  bool // a probe: it reports a gap if one is due, and nothing else
	breaks  uint64
	waiting map[string]bool // keys that have not come back
	replies bool            // the masters' replies have not come yet
	done    chan struct{}
}

func newFeed(s *Store, cluster bool, option rueidis.ClientOption) *feed {
	f := &feed{s: s, name: newNonce(), timeout: option.ConnWriteTimeout, wake: make(chan struct{}, 1), lost: true}
	dial := option.DialCtxFn
	option.ForceSingleClient = true
	option.AlwaysPipelining = true
	option.PipelineMultiplex = -1 // one connection: Redis' messages must come in order
	option.DisableCache = false
	option.CacheSizeEachConn = 1 << 10 // nothing is cached
	option.ClientTrackingOptions = []string{"BCAST", "PREFIX", s.feedPrefix(), "PREFIX", f.pulsePrefix()}
	option.OnInvalidations = f.receive
	option.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		f.noteBreak()
		return dial(ctx, addr, d, config)
	}
	f.topology = topology{option: option, changed: f.noteBreak, stale: true}
	if cluster {
		f.topology.cluster = s.client
	}
	return f
}

// pulsePrefix sorts behind feedPrefix, and so do its messages if Redis sends
// messages about both at the same time.
func (f *feed) pulsePrefix() string { return f.s.prefix + ":pulse:" + f.name + ":" }

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.feed.listen(ctx); err != nil {
		return nil, s.readError(ctx, err)
	}
	return s.feed.out.Watch(ctx)
}

// Beat implements store.Feeder. It returns when Redis has accepted the
// heartbeat, which comes back a moment later.
func (s *Store) Beat(ctx context.Context, n uint64) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	_, err := s.feed.beat(ctx, n, false)
	return s.readError(ctx, err)
}

// listen returns when the feed hears of every change from now on, and has heard
// of those before.
func (f *feed) listen(ctx context.Context) error {
	f.mu.Lock()
	if !f.started && !f.closed {
		f.started = true
		f.s.stopped.Go(f.watch)
	}
	f.mu.Unlock()
	var err error
	for range 3 { // the first may make the connections, which is a break
		var h *heartbeat
		if h, err = f.beat(ctx, 0, true); err != nil {
			continue
		}
		err = errFeed
		select {
		case <-h.done:
		case <-time.After(f.timeout):
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		if !f.hasLost() {
			return nil
		}
	}
	return err
}

func (f *feed) hasLost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// watch sends probes while a gap is due, so that it is reported soon even if
// nobody sends heartbeats.
func (f *feed) watch() {
	const every = 250 * time.Millisecond
	for {
		select {
		case <-f.wake:
		case <-f.s.ctx.Done():
			return
		}
		for f.hasLost() {
			ctx, cancel := context.WithTimeout(f.s.ctx, f.timeout)
			_, _ = f.beat(ctx, 0, true)
			cancel()
			select {
			case <-time.After(every):
			case <-f.s.ctx.Done():
				return
			}
		}
	}
}

// noteBreak notes a break: changes may be lost.
func (f *feed) noteBreak() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks++
	f.lost = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// beat sends a heartbeat to each master. It comes back through receive.
func (f *feed) beat(ctx context.Context, n uint64, silent bool) (h *heartbeat, err error) {
	defer func() { f.s.watch.noteFeed(err, f.s.log) }()
	if err := f.topology.update(ctx); err != nil {
		return nil, err
	}
	h, err = f.begin(n, silent)
	if err != nil {
		return nil, err
	}
	// After begin: if the topology changes in between, the heartbeat doesn't count.
	masters := f.topology.current()
	keys := map[*master]string{}
	f.mu.Lock()
	for m, buckets := range masters {
		// A new name each time: one heartbeat must not be taken for another.
		keys[m] = f.pulsePrefix() + "{" + tags[buckets[0]] + "}:" + newNonce()
		h.waiting[keys[m]] = true
	}
	f.mu.Unlock()
	errs := make(chan error, len(masters))
	for m, buckets := range masters {
		go func() { errs <- f.pulse(ctx, m, buckets, keys[m]) }()
	}
	for range masters {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		f.topology.distrust()
		f.noteBreak()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.drop(h)
		return nil, err
	}
	h.replies = false
	f.complete(h)
	return h, nil
}

// begin returns a new pending heartbeat.
func (f *feed) begin(n uint64, silent bool) (*heartbeat, error) {
	const most = 64 // pending ones: those that never come back must go
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, store.ErrClosed
	}
	h := &heartbeat{n: n, silent: silent, breaks: f.breaks, waiting: map[string]bool{}, replies: true, done: make(chan struct{})}
	f.pending = append(f.pending[max(0, len(f.pending)-most):], h)
	return h, nil
}

// pulse sends a heartbeat to one master.
func (f *feed) pulse(ctx context.Context, m *master, buckets []int, key string) error {
	c := m.client
	commands := rueidis.Commands{c.B().Eval().Script(pulseScript.text).Numkeys(1).Key(key).Build()}
	cluster := f.topology.cluster != nil
	if cluster {
		commands = append(commands, c.B().ClusterInfo().Build())
		for _, b := range buckets {
			commands = append(commands, c.B().Exists().Key(f.s.prefix+":pulse:{"+tags[b]+"}").Build())
		}
	}
	results := c.DoMulti(ctx, commands...)
	for _, result := range results {
		if err := result.Error(); err != nil {
			return err
		}
	}
	if !cluster {
		return nil
	}
	info, err := results[1].ToString()
	if err != nil {
		return err
	}
	epoch := ""
	for line := range strings.Lines(info) {
		if strings.HasPrefix(line, "cluster_current_epoch:") || strings.HasPrefix(line, "cluster_my_epoch:") {
			epoch += line
		}
	}
	f.topology.noteEpoch(m, epoch)
	return nil
}

// receive is called for each message, in order, by the goroutine that reads the
// connection. messages is nil when everything was deleted or the connection is
// lost.
func (f *feed) receive(messages []rueidis.RedisMessage) {
	if messages == nil {
		f.noteBreak()
		f.gap()
		return
	}
	var last store.Change
	for i := range messages {
		key, err := messages[i].ToString()
		if err != nil {
			continue
		}
		if name, ok := strings.CutPrefix(key, f.s.feedPrefix()); ok {
			// Each bucket reports an EndAll: one report of those that come together
			// is enough.
			if change, ok := parseChange(name); ok && change != last {
				f.out.Publish(change)
				last = change
			}
		} else if strings.HasPrefix(key, f.pulsePrefix()) {
			f.noteReturn(key)
		}
	}
}

// noteReturn notes that a key of a heartbeat came back.
func (f *feed) noteReturn(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.pending {
		if h.waiting[key] {
			delete(h.waiting, key)
			f.complete(h)
			return
		}
	}
}

// complete reports a heartbeat that has come back from all masters. The caller
// holds the mutex.
func (f *feed) complete(h *heartbeat) {
	if h.replies || len(h.waiting) > 0 {
		return
	}
	f.drop(h)
	if h.breaks != f.breaks || f.closed {
		return
	}
	if f.lost {
		f.lost = false
		f.gap()
	}
	if !h.silent {
		f.beats.Add(1)
		f.out.Publish(store.Change{Kind: store.Beat, Revision: h.n})
	}
}

// drop ends the wait for a heartbeat. The caller holds the mutex.
func (f *feed) drop(h *heartbeat) {
	if i := slices.Index(f.pending, h); i >= 0 {
		f.pending = slices.Delete(f.pending, i, i+1)
		close(h.done)
	}
}

func (f *feed) gap() {
	f.gaps.Add(1)
	f.out.Publish(store.Change{Kind: store.Gap})
}

// parseChange parses a message behind the feed's prefix: "{tag}:app:id:revision",
// with "gone" as the revision for an end, or "{tag}:app::all".
func parseChange(name string) (c store.Change, ok bool) {
	_, rest, ok := strings.Cut(name, "}:")
	parts := strings.Split(rest, ":")
	if !ok || len(parts) != 3 || name[0] != '{' { // the message of a store whose prefix begins with this one's
		return c, false
	}
	app, err := url.PathUnescape(parts[0])
	if err != nil {
		return c, false
	}
	c.App = app
	if parts[1] == "" {
		c.Kind = store.GoneAll
		return c, parts[2] == "all"
	}
	if c.ID, err = store.ParseID(parts[1]); err != nil {
		return c, false
	}
	if parts[2] == "gone" {
		c.Kind = store.Gone
		return c, true
	}
	c.Kind = store.Changed
	c.Revision, err = strconv.ParseUint(parts[2], 16, 64)
	return c, err == nil
}

// close ends the feed and its connections.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.topology.close()
	f.out.Close()
}
