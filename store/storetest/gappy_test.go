package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A gappyNode reports only gaps, one after the other, as a cache does that has
// lost the connection to its store.
type gappyNode struct{ *mapNode }

func (n gappyNode) Watch(ctx context.Context) (<-chan store.Change, error) {
	in, err := n.mapNode.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan store.Change, 1)
	go func() {
		defer close(out)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case _, open := <-in:
				if !open {
					return
				}
			case <-tick.C:
				select {
				case out <- store.Change{Kind: store.Gap}:
				default:
				}
			}
		}
	}()
	return out, nil
}

// TestGapIsAnAnswer checks that the cases of Watch pass, and end, if the feed
// reports gaps instead of changes.
func TestGapIsAnAnswer(t *testing.T) {
	for _, c := range watchCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			node := gappyNode{newMapNodes("")[0].(*mapNode)}
			c.run(newFixture(t, node))
		})
	}
	for _, c := range sharedCases {
		if !strings.HasPrefix(c.name, "Shared/Watch") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var nodes []store.Store
			for _, n := range newMapNodes("") {
				nodes = append(nodes, gappyNode{n.(*mapNode)})
			}
			c.run(&cluster{newFixture(t, newRound(t, nodes)), nodes})
		})
	}
}
