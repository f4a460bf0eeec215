package arena

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Apps numbers applications, and keeps an A for each. There are few of them,
// and they stay. Reading takes no lock: adding an application copies the lists.
// The zero Apps is empty and ready; its methods may be called concurrently.
type Apps[A any] struct {
	known atomic.Pointer[known[A]]
	mu    sync.Mutex // held while an application is added
}

type known[A any] struct {
	first  string // most stores have one application: it needs no map
	byName map[string]*A
	byNum  []*A
}

// Find returns an application, or nil if Need has not made it.
func (s *Apps[A]) Find(name string) *A {
	k := s.known.Load()
	switch {
	case k == nil:
		return nil
	case name == k.first:
		return k.byNum[0]
	}
	return k.byName[name]
}

// At returns the application with a number.
func (s *Apps[A]) At(num uint32) *A { return s.known.Load().byNum[num] }

// Need returns an application. If it is new, Need makes it.
func (s *Apps[A]) Need(name string, make func(name string, num uint32) *A) *A {
	if a := s.Find(name); a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.Find(name); a != nil {
		return a
	}
	next := known[A]{first: name, byName: map[string]*A{}}
	if k := s.known.Load(); k != nil {
		next = known[A]{k.first, maps.Clone(k.byName), slices.Clone(k.byNum)}
	}
	a := make(name, uint32(len(next.byNum)))
	next.byName[name] = a
	next.byNum = append(next.byNum, a)
	s.known.Store(&next)
	return a
}
