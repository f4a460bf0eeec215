package memstore

import (
	"math"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
)

// An app is what the store knows about an application.
type app struct {
	name      string
	num       uint32
	watermark atomic.Int64 // a store.Time; of EndAll
	cursor    sweepCursor  // guarded by core.sweepMu
}

// never is before every time.
const never = math.MinInt64

func newApp(name string, num uint32) *app {
	a := &app{name: name, num: num}
	a.watermark.Store(never)
	return a
}

// need returns an application, adding it if it is new.
func (c *core) need(name string) *app { return c.apps.Need(name, newApp) }

func (a *app) mark() store.Time { return store.Time(a.watermark.Load()) }

// raise lifts the watermark to at, unless it is higher.
func (a *app) raise(at store.Time) {
	for {
		old := a.watermark.Load()
		if int64(at) <= old || a.watermark.CompareAndSwap(old, int64(at)) {
			return
		}
	}
}
