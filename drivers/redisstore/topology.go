package redisstore

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// A topology is the masters to which the feed listens, with a connection to
// each. A single Redis is one master.
type topology struct {
	option  rueidis.ClientOption // of the connections
	cluster rueidis.Client       // to ask for its masters; nil for a single Redis
	changed func()               // called, with mu held, when a master or its buckets have changed

	looking sync.Mutex // held while the masters are looked up and connected to

	mu      sync.Mutex // guards the fields below, and those of the masters
	closed  bool
	stale   bool // the masters must be looked up again
	masters map[string]*master
}

// A master is a node of the topology.
type master struct {
	client  rueidis.Client
	buckets []int // for which it is responsible
	epoch   string
}

// update looks up the masters, if necessary, and connects to them.
func (t *topology) update(ctx context.Context) error {
	t.looking.Lock()
	defer t.looking.Unlock()
	t.mu.Lock()
	stale := t.stale
	t.mu.Unlock()
	if !stale {
		return nil
	}
	found, err := t.lookUp(ctx)
	if err != nil {
		return err
	}
	masters := map[string]*master{}
	for addr := range found {
		m := t.master(addr)
		if m == nil {
			if m, err = t.connect(addr); err != nil {
				t.retire(masters)
				return err
			}
		}
		masters[addr] = m
	}
	old, err := t.replace(masters, found)
	t.retire(old)
	return err
}

// replace sets the masters and their buckets, and returns the masters whose
// connections are to be closed. It notes the change in the same step as current
// sees it.
func (t *topology) replace(masters map[string]*master, buckets map[string][]int) (old map[string]*master, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return masters, store.ErrClosed
	}
	changed := false
	for addr, m := range masters {
		changed = changed || !slices.Equal(m.buckets, buckets[addr])
		m.buckets = buckets[addr]
	}
	if changed {
		t.changed()
	}
	old = t.masters
	t.masters, t.stale = masters, false
	return old, nil
}

func (t *topology) master(addr string) *master {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.masters[addr]
}

func (t *topology) connect(addr string) (*master, error) {
	option := t.option
	if option.Sentinel.MasterSet == "" { // else they are the sentinels'
		option.InitAddress = []string{addr}
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		if client != nil {
			go client.Close()
		}
		return nil, err
	}
	return &master{client: client}, nil
}

// retire closes the connections to masters that the topology no longer has.
func (t *topology) retire(masters map[string]*master) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for addr, m := range masters {
		if t.masters[addr] != m {
			go m.client.Close() // it reports to the feed that the connection is lost
		}
	}
}

// lookUp returns the addresses of the masters with their buckets.
func (t *topology) lookUp(ctx context.Context) (map[string][]int, error) {
	owner := make([]string, clusterSlots)
	if t.cluster == nil {
		for slot := range owner {
			owner[slot] = t.option.InitAddress[0]
		}
	} else {
		ranges, err := t.cluster.Do(ctx, t.cluster.B().ClusterSlots().Build()).ToArray()
		if err != nil {
			return nil, err
		}
		for _, r := range ranges {
			from, to, addr, err := t.parseRange(r)
			if err != nil {
				return nil, err
			}
			for slot := from; slot <= to; slot++ {
				owner[slot] = addr
			}
		}
	}
	masters := map[string][]int{}
	for bucket, tag := range tags {
		addr := owner[slotOf(tag)]
		if addr == "" {
			return nil, fmt.Errorf("the cluster has no master for slot %d", slotOf(tag))
		}
		masters[addr] = append(masters[addr], bucket)
	}
	return masters, nil
}

// parseRange parses an element of the answer to CLUSTER SLOTS.
func (t *topology) parseRange(r rueidis.RedisMessage) (from, to int64, addr string, err error) {
	parts, err := r.ToArray()
	if err != nil || len(parts) < 3 {
		return 0, 0, "", errFeed
	}
	from, err1 := parts[0].AsInt64()
	to, err2 := parts[1].AsInt64()
	node, err3 := parts[2].ToArray()
	if err1 != nil || err2 != nil || err3 != nil || len(node) < 2 || from < 0 || to >= clusterSlots {
		return 0, 0, "", errFeed
	}
	host, _ := node[0].ToString()
	port, err := node[1].AsInt64()
	if err != nil || host == "?" {
		return 0, 0, "", errFeed
	}
	if host == "" { // the node that was asked
		host, _, _ = net.SplitHostPort(t.option.InitAddress[0])
	}
	return from, to, net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
}

// current returns the masters with their buckets.
func (t *topology) current() map[*master][]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := map[*master][]int{}
	for _, m := range t.masters {
		list[m] = m.buckets
	}
	return list
}

// noteEpoch notes the epoch of the cluster as a master knows it. If it is another
// one, buckets may have been elsewhere for a while, and come back.
func (t *topology) noteEpoch(m *master, epoch string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.epoch != epoch {
		m.epoch = epoch
		t.changed()
	}
}

// distrust makes the next update look up the masters again.
func (t *topology) distrust() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = t.stale || t.cluster != nil
}

func (t *topology) close() {
	t.mu.Lock()
	masters := t.masters
	t.closed, t.masters = true, nil
	t.mu.Unlock()
	for _, m := range masters {
		m.client.Close()
	}
}
