package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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

// The feed listens on one connection to each master. Redis sends there the name of every key written under the feed's
// prefix, in the order of the writes, and before it acknowledges them.
//
// What is lost is known by the breaks: a connection that was made or lost, an address that became responsible for other
// buckets, a cluster's epoch that moved on. Whenever one happens, changes may have been missed before the feed listens again, so
// the next heartbeat that comes back, if no break happened since it was sent, is preceded by a gap.
//
// A heartbeat is a key of its own, written on the feed's own connection. What Redis sends for it comes behind all that it sent before.
// On a cluster it also asks each master for each bucket, which is refused where the bucket lies elsewhere or is moving away.
type feed struct {
	s       *Store
	cluster bool
	option  rueidis.ClientOption
	name    string // of this feed's heartbeats
	out     driver.Feed

	gaps, beats atomic.Uint64

	starting sync.Mutex // one brings the feed into being, or looks at the cluster, at a time
	wake     chan struct{}

	mu      sync.Mutex
	closed  bool
	started bool
	breaks  uint64 // how many there were
	lost    bool   // a gap is due
	stale   bool   // the cluster must be looked at again
	nodes   map[string]*feedNode
	pending []*heartbeat
}

// A feedNode is a master that the feed listens to.
type feedNode struct {
	client  rueidis.Client
	buckets []int // for which it is responsible
	epoch   string
}

// A heartbeat is under way until all that it waits for has come.
type heartbeat struct {
	n       uint64
	silent  bool // to see whether the feed works: reports a gap if one is due, nothing else
	breaks  uint64
	waiting map[string]bool // keys that have not come back
	replies bool            // are still awaited
	done    chan struct{}
}

var errFeed = errors.New("redisstore: the feed can't be followed at present")

func newFeed(s *Store, cluster bool, option rueidis.ClientOption) *feed {
	f := &feed{s: s, cluster: cluster, option: option, name: newNonce(), wake: make(chan struct{}, 1), lost: true, stale: true}
	o := &f.option
	o.ForceSingleClient = true
	o.AlwaysPipelining = true
	o.PipelineMultiplex = -1 // one connection: what Redis sends must come in order
	o.DisableCache = false
	o.CacheSizeEachConn = 1 << 10 // nothing is cached
	o.ClientTrackingOptions = []string{"BCAST", "PREFIX", s.feedPrefix(), "PREFIX", f.pulsePrefix()}
	o.OnInvalidations = f.receive
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		f.broke()
		return option.DialCtxFn(ctx, addr, d, config)
	}
	return f
}

// pulsePrefix sorts behind feedPrefix, and so do its messages where Redis sends those of both at once.
func (f *feed) pulsePrefix() string { return f.s.prefix + ":pulse:" + f.name + ":" }

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.feed.listen(ctx); err != nil {
		return nil, s.read(ctx, err)
	}
	return s.feed.out.Watch(ctx)
}

// Beat implements store.Feeder. It returns when Redis has taken the heartbeat; that comes back a moment later.
func (s *Store) Beat(ctx context.Context, n uint64) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	_, err := s.feed.beat(ctx, n, false)
	return s.read(ctx, err)
}

// listen returns when the feed hears of all changes from now on, and has heard of those before.
func (f *feed) listen(ctx context.Context) error {
	f.mu.Lock()
	if !f.started && !f.closed {
		f.started = true
		f.s.stopped.Go(f.look)
	}
	f.mu.Unlock()
	var err error
	for range 3 { // the first may make the connections, and not count then
		var h *heartbeat
		if h, err = f.beat(ctx, 0, true); err != nil {
			continue
		}
		select {
		case <-h.done:
		case <-time.After(f.option.ConnWriteTimeout):
			err = errFeed
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
		lost := f.lost
		f.mu.Unlock()
		if !lost {
			return nil
		}
		err = errFeed
	}
	return err
}

// look sees to it that a feed that has lost something says so soon, whether or not anybody sends heartbeats.
func (f *feed) look() {
	const every = 250 * time.Millisecond
	for {
		select {
		case <-f.wake:
		case <-f.s.ctx.Done():
			return
		}
		for {
			f.mu.Lock()
			lost := f.lost
			f.mu.Unlock()
			if !lost {
				break
			}
			ctx, cancel := context.WithTimeout(f.s.ctx, f.option.ConnWriteTimeout)
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

// broke notes a break.
func (f *feed) broke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noteBreak()
}

func (f *feed) noteBreak() {
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
	if err := f.layOut(ctx); err != nil {
		return nil, err
	}
	h = &heartbeat{n: n, silent: silent, waiting: map[string]bool{}, replies: true, done: make(chan struct{})}
	type share struct {
		addr string
		node *feedNode
		key  string
	}
	var shares []share
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, store.ErrClosed
	}
	h.breaks = f.breaks
	for addr, node := range f.nodes {
		// The number is part of the name: one heartbeat must not be taken for another.
		key := f.pulsePrefix() + "{" + tags[node.buckets[0]] + "}:" + newNonce()
		h.waiting[key] = true
		shares = append(shares, share{addr, node, key})
	}
	const most = 64 // that may be under way: those that never came back must go
	f.pending = append(f.pending[max(0, len(f.pending)-most):], h)
	f.mu.Unlock()

	errs := make([]error, len(shares))
	var wg sync.WaitGroup
	for i, sh := range shares {
		wg.Go(func() { errs[i] = f.pulse(ctx, sh.node, sh.key) })
	}
	wg.Wait()
	err = errors.Join(errs...)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.drop(h)
		f.stale = f.cluster
		f.noteBreak()
		return nil, err
	}
	h.replies = false
	f.complete(h)
	return h, nil
}

// pulse sends one master's share of a heartbeat.
func (f *feed) pulse(ctx context.Context, node *feedNode, key string) error {
	c := node.client
	commands := rueidis.Commands{c.B().Eval().Script(pulse).Numkeys(1).Key(key).Build()}
	if f.cluster {
		commands = append(commands, c.B().ClusterInfo().Build())
		for _, b := range node.buckets {
			commands = append(commands, c.B().Exists().Key(f.s.prefix+":pulse:{"+tags[b]+"}").Build())
		}
	}
	results := c.DoMulti(ctx, commands...)
	for _, result := range results {
		if err := result.Error(); err != nil {
			return err
		}
	}
	if !f.cluster {
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
	f.mu.Lock()
	defer f.mu.Unlock()
	if node.epoch != epoch {
		// Buckets may have been elsewhere for a while, and come back.
		node.epoch = epoch
		f.noteBreak()
	}
	return nil
}

// receive is called for each message, in order, by the goroutine that reads the connection; with nil when everything was deleted, or the connection is lost.
func (f *feed) receive(messages []rueidis.RedisMessage) {
	if messages == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
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
			// EndAll is told once for each bucket: of those that come together one will do.
			if change, ok := parseChange(name); ok && change != last {
				f.out.Publish(change)
				last = change
			}
		} else if strings.HasPrefix(key, f.pulsePrefix()) {
			f.came(key)
		}
	}
}

// came notes that a key of a heartbeat came back.
func (f *feed) came(key string) {
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

// complete reports a heartbeat that has come back from everywhere.
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

// parseChange reads what stands behind the feed's prefix: "{tag}:app:id:revision", with "gone" for an end, or "{tag}:app::all".
func parseChange(name string) (c store.Change, ok bool) {
	_, rest, ok := strings.Cut(name, "}:")
	parts := strings.Split(rest, ":")
	if !ok || len(parts) != 3 {
		return c, false
	}
	if c.App, ok = unescape(parts[0]); !ok {
		return c, false
	}
	if parts[1] == "" {
		c.Kind = store.GoneAll
		return c, parts[2] == "all"
	}
	var err error
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

// layOut finds out which masters there are and which buckets each has, if that isn't known, and connects to them.
func (f *feed) layOut(ctx context.Context) error {
	f.starting.Lock()
	defer f.starting.Unlock()
	f.mu.Lock()
	stale := f.stale
	f.mu.Unlock()
	if !stale {
		return nil
	}
	masters := map[string][]int{f.option.InitAddress[0]: allBuckets()}
	if f.cluster {
		var err error
		if masters, err = f.masters(ctx); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return store.ErrClosed
	}
	nodes := map[string]*feedNode{}
	for addr, list := range masters {
		node := f.nodes[addr]
		if node == nil {
			option := f.option
			option.InitAddress = []string{addr}
			f.mu.Unlock() // it dials
			client, err := rueidis.NewClient(option)
			f.mu.Lock()
			if err == nil && f.closed {
				err = store.ErrClosed
			}
			if err != nil {
				if client != nil {
					go client.Close()
				}
				f.retire(nodes)
				return err
			}
			node = &feedNode{client: client}
		}
		nodes[addr] = node
		if !slices.Equal(node.buckets, list) {
			node.buckets = list
			f.noteBreak()
		}
	}
	old := f.nodes
	f.nodes, f.stale = nodes, false
	f.retire(old)
	return nil
}

// retire closes the connections to nodes that the feed no longer listens to.
func (f *feed) retire(nodes map[string]*feedNode) {
	for addr, node := range nodes {
		if f.nodes[addr] != node {
			go node.client.Close() // it calls receive, which takes the lock
		}
	}
}

func allBuckets() []int {
	list := make([]int, buckets)
	for i := range list {
		list[i] = i
	}
	return list
}

// masters asks the cluster.
func (f *feed) masters(ctx context.Context) (map[string][]int, error) {
	ranges, err := f.s.client.Do(ctx, f.s.client.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return nil, err
	}
	owner := make([]string, clusterSlots)
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			return nil, errFeed
		}
		from, err1 := parts[0].AsInt64()
		to, err2 := parts[1].AsInt64()
		node, err3 := parts[2].ToArray()
		if err1 != nil || err2 != nil || err3 != nil || len(node) < 2 || from < 0 || to >= clusterSlots {
			return nil, errFeed
		}
		host, _ := node[0].ToString()
		port, err := node[1].AsInt64()
		if err != nil || host == "?" {
			return nil, errFeed
		}
		if host == "" { // the one that we have asked
			host, _, _ = net.SplitHostPort(f.s.firstAddr())
		}
		for slot := from; slot <= to; slot++ {
			owner[slot] = net.JoinHostPort(host, strconv.FormatInt(port, 10))
		}
	}
	masters := map[string][]int{}
	for b, tag := range tags {
		addr := owner[slotOf(tag)]
		if addr == "" {
			return nil, fmt.Errorf("the cluster has no master for slot %d", slotOf(tag))
		}
		masters[addr] = append(masters[addr], b)
	}
	return masters, nil
}

func (s *Store) firstAddr() string { return s.feed.option.InitAddress[0] }

// close ends the feed and its connections.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	nodes := f.nodes
	f.nodes = nil
	f.mu.Unlock()
	for _, node := range nodes {
		node.client.Close()
	}
	f.out.Close()
}
