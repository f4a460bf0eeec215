package memstore

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
)

// An app is what the store knows about an application. Applications come from
// configuration, so they are few and stay.
type app struct {
	name      string
	num       uint32
	watermark atomic.Int64 // a store.Time; of EndAll
}

// never is before every time.
const never = math.MinInt64

// apps is read without a lock: it is copied when an application is added.
type apps struct {
	first  atomic.Pointer[app] // most stores have one, which then costs no map lookup
	byName atomic.Pointer[map[string]*app]
	mu     sync.Mutex
	byNum  atomic.Pointer[[]*app]
}

// find returns an application, or nil if it was never written to.
func (s *apps) find(name string) *app {
	if a := s.first.Load(); a != nil && a.name == name {
		return a
	}
	if m := s.byName.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// num returns the application with a number.
func (s *apps) num(n uint32) *app { return (*s.byNum.Load())[n] }

// need returns an application, adding it if it is new.
func (s *apps) need(name string) *app {
	if a := s.find(name); a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.find(name); a != nil {
		return a
	}
	byName := map[string]*app{}
	var byNum []*app
	if m := s.byName.Load(); m != nil {
		for k, v := range *m {
			byName[k] = v
		}
		byNum = append(byNum, *s.byNum.Load()...)
	}
	a := &app{name: name, num: uint32(len(byNum))}
	a.watermark.Store(never)
	byName[name] = a
	byNum = append(byNum, a)
	s.byNum.Store(&byNum)
	s.byName.Store(&byName)
	s.first.CompareAndSwap(nil, a)
	return a
}

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
