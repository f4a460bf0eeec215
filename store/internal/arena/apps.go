package arena

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Apps numbers applications, and keeps an A for each. Applications come from configuration, so they are few and stay.
// It is read without a lock: it is copied when an application is added. The zero Apps is empty and ready; its
// methods may be called concurrently.
type Apps[A any] struct {
	first  atomic.Pointer[named[A]] // most stores have one, which then costs no map lookup
	byName atomic.Pointer[map[string]*A]
	byNum  atomic.Pointer[[]*A]
	mu     sync.Mutex
}

type named[A any] struct {
	name string
	app  *A
}

// Find returns an application, or nil if nobody has needed it.
func (s *Apps[A]) Find(name string) *A {
	if f := s.first.Load(); f != nil && f.name == name {
		return f.app
	}
	if m := s.byName.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// At returns the application with a number.
func (s *Apps[A]) At(num uint32) *A { return (*s.byNum.Load())[num] }

// Need returns an application, and makes it if it is new.
func (s *Apps[A]) Need(name string, make func(name string, num uint32) *A) *A {
	if a := s.Find(name); a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.Find(name); a != nil {
		return a
	}
	byName := map[string]*A{}
	var byNum []*A
	if m := s.byName.Load(); m != nil {
		byName, byNum = maps.Clone(*m), slices.Clone(*s.byNum.Load())
	}
	a := make(name, uint32(len(byNum)))
	byName[name] = a
	byNum = append(byNum, a)
	s.byNum.Store(&byNum)
	s.byName.Store(&byName)
	s.first.CompareAndSwap(nil, &named[A]{name, a})
	return a
}
