package storetest

import (
	"context"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A Feeder is a store with a change feed and heartbeats.
type Feeder interface {
	store.Store
	store.Feeder
}

// Beating returns a Feeder on a store of one process, such as a memstore, for
// tests of code that needs one. The feed reports what pass returns for each
// change.
func Beating(s interface {
	store.Store
	store.Watcher
}, pass func(store.Change) []store.Change) Feeder {
	return &beating{s, s, pass}
}

type beating struct {
	store.Store
	watcher store.Watcher
	pass    func(store.Change) []store.Change
}

// A heartbeat is the EndAll of an application of its own. So it has its place
// among the changes and gets lost together with them.
const beatApp = "heartbeat "

func (b *beating) Beat(ctx context.Context, n uint64) error {
	return b.EndAll(ctx, beatApp+strconv.FormatUint(n, 10), 1)
}

func (b *beating) Watch(ctx context.Context) (<-chan store.Change, error) {
	in, err := b.watcher.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan store.Change)
	go func() {
		defer close(out)
		for c := range in {
			if number, ok := strings.CutPrefix(c.App, beatApp); ok {
				c = store.Change{Kind: store.Beat}
				c.Revision, _ = strconv.ParseUint(number, 10, 64)
			}
			for _, c := range b.pass(c) {
				select {
				case out <- c:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// Disturb is driver.Intercept for a Feeder.
func Disturb(f Feeder, around func(context.Context, driver.Call) driver.Result) Feeder {
	return driver.Intercept(f, around).(Feeder) //nolint:forcetypeassert // Intercept keeps what a store can do
}
