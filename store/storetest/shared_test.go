package storetest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A hub is a model that several nodes share.
type hub struct {
	broken string
	mu     sync.Mutex
	m      *model
	nodes  []*mapNode
	known  map[scoped]nodeState
	marks  map[string]store.Time
}

type nodeState struct {
	revision uint64
	over     bool
}

// A mapNode is a handle on a hub, with a change feed.
type mapNode struct {
	*mapStore
	hub  *hub
	feed driver.Feed
	held *store.Change // a change that a broken feed delays until the next one
	seen map[scoped]*store.Record
}

func newMapNodes(broken string) (nodes []store.Store) {
	h := &hub{broken: broken, m: newModel(), known: map[scoped]nodeState{}, marks: map[string]store.Time{}}
	for range 3 {
		n := &mapNode{hub: h, seen: map[scoped]*store.Record{}}
		n.mapStore = &mapStore{broken: broken, mu: &h.mu, m: h.m, leave: func() {
			h.tell(n)
			h.mu.Unlock()
		}}
		h.nodes = append(h.nodes, n)
		nodes = append(nodes, n)
	}
	return nodes
}

// tell publishes the changes since the last call.
func (h *hub) tell(by *mapNode) {
	var changes []store.Change
	for app, at := range h.m.marks {
		if old, ok := h.marks[app]; !ok || old < at {
			h.marks[app] = at
			changes = append(changes, store.Change{Kind: store.GoneAll, App: app})
		}
	}
	for k, s := range h.m.sessions {
		old, ok := h.known[k]
		state := nodeState{s.Revision, h.m.ended(k.app, s)}
		if ok && state == old {
			continue
		}
		h.known[k] = state
		switch {
		case !state.over:
			changes = append(changes, store.Change{Kind: store.Changed, App: k.app, ID: k.id, Revision: s.Revision})
		case s.End != "" && !old.over:
			changes = append(changes, store.Change{Kind: store.Gone, App: k.app, ID: k.id})
		}
	}
	slices.SortFunc(changes, func(a, b store.Change) int { return cmp.Compare(b.Kind, a.Kind) })
	for _, n := range h.nodes {
		for _, c := range changes {
			if h.broken == "deaf to the others" && n != by {
				continue
			}
			if h.broken == "heartbeats overtake" && n != by {
				if n.held != nil {
					n.feed.Publish(*n.held)
				}
				n.held = &c
				continue
			}
			n.feed.Publish(c)
		}
	}
}

func (n *mapNode) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.leave()
	return n.feed.Watch(ctx)
}

func (n *mapNode) Beat(ctx context.Context, number uint64) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.leave()
	if number%20 == 0 {
		return nil // a heartbeat may get lost
	}
	n.feed.Publish(store.Change{Kind: store.Beat, Revision: number})
	return nil
}

func (n *mapNode) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if n.broken == "keys of a node" && opt.Key != "" {
		opt.Key += fmt.Sprintf(" of %p", n)
	}
	return n.mapStore.Create(ctx, app, rec, opt)
}

func (n *mapNode) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if err := n.mapStore.Get(ctx, app, id, strict, rec); err != nil || n.broken != "strict from memory" {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.seen[scoped{app, id}]; known != nil {
		rec.CopyFrom(known)
	}
	n.seen[scoped{app, id}] = clone(rec)
	return nil
}

func (n *mapNode) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	if n.broken != "a sweep for each node" {
		return n.mapStore.Sweep(ctx, app, now, max)
	}
	n.mu.Lock()
	own := newModel()
	for k, s := range n.m.sessions {
		own.sessions[k] = &modelSession{Record: *clone(&s.Record)}
	}
	n.mu.Unlock()
	ended := own.sweep(app, now)
	_, _, err := n.mapStore.Sweep(ctx, app, now, 1_000_000)
	return ended, true, err
}

func (n *mapNode) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.hub.nodes {
		if other == n || n.broken == "all leave" {
			other.closed = true
			other.feed.Close()
		}
	}
	return nil
}

// TestSharedModel checks that the suite accepts correct nodes.
func TestSharedModel(t *testing.T) {
	RunShared(t, func(testing.TB) []store.Store { return newMapNodes("") })
}

// brokenNodes maps each deliberately wrong kind of node to the case that must
// detect it.
var brokenNodes = map[string]string{
	"strict from memory":    "Shared/StrictGetsSeeEverything",
	"deaf to the others":    "Shared/WatchOfTheOthers",
	"heartbeats overtake":   "I10/Shared/BeatAfterChanges",
	"limit checked before":  "I11/Shared/LimitUnderParallelLogins",
	"no barrier":            "I3/Shared/EndSubjectDuringLogins",
	"keys of a node":        "Shared/IdempotencyKey",
	"a sweep for each node": "I7/Shared/SweepsShareTheWork",
	"all leave":             "Shared/OneClosed",

	"applications share everything":            "Metamorphic/Applications",
	"a barrier for everybody":                  "Metamorphic/Subjects",
	"reads are activity":                       "Metamorphic/Bystanders",
	"eviction before the revision is compared": "Metamorphic/Bystanders",
	"ends again":                               "Metamorphic/Bystanders",
	"sweeps early":                             "Metamorphic/Bystanders",
}

func TestBrokenNodes(t *testing.T) { wantBroken(t, brokenNodes, "TestBrokenNode") }

// TestBrokenNode is the process that TestBrokenNodes starts.
func TestBrokenNode(t *testing.T) {
	name := os.Getenv(brokenEnv)
	if name == "" {
		return // TestBrokenNodes did not start it
	}
	RunShared(t, func(testing.TB) []store.Store { return newMapNodes(name) })
}
