package overload

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const timeout = time.Second

// A server answers each call after a while, or never.
type server struct {
	*Gate
	takes atomic.Int64 // nanoseconds

	served, failed, refused atomic.Int64
	most, inside            atomic.Int64
}

func newServer(limit int, takes time.Duration) *server {
	s := &server{Gate: NewGate(limit, timeout)}
	s.takes.Store(int64(takes))
	return s
}

// call makes one call, as a driver does.
func (s *server) call() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	p, err := s.Enter(ctx)
	if err != nil {
		s.refused.Add(1)
		return err
	}
	s.most.Store(max(s.most.Load(), s.inside.Add(1)))
	select {
	case <-time.After(time.Duration(s.takes.Load())):
		s.served.Add(1)
		s.inside.Add(-1)
		s.Leave(p, Served)
		return nil
	case <-ctx.Done():
		s.failed.Add(1)
		s.inside.Add(-1)
		s.Leave(p, Failed)
		return ctx.Err()
	}
}

func (s *server) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.line)
}

// press runs callers for a while. Each makes one call after the other.
func (s *server) press(callers int, d time.Duration) {
	var wg sync.WaitGroup
	stop := time.Now().Add(d)
	for range callers {
		wg.Go(func() {
			for time.Now().Before(stop) {
				if s.call() != nil {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}

func TestGateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(4, 10*time.Millisecond)
		s.press(100, 2*time.Second)
		if s.most.Load() != 4 || s.failed.Load() != 0 || s.refused.Load() != 0 {
			t.Errorf("%d calls were inside at once, %d failed, %d were refused", s.most.Load(), s.failed.Load(), s.refused.Load())
		}
	})
}

// TestGateRefuses checks that the gate refuses calls at once that the server
// cannot answer in time, and that it serves the calls that it admits.
func TestGateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(4, timeout*4/5)
		s.press(4, 5*time.Second) // the gate learns how long a call takes
		s.served.Store(0)
		s.press(100, 20*time.Second)
		if n := s.served.Load(); n < 4*20*5/4*9/10 {
			t.Errorf("%d calls were served", n)
		}
		if s.failed.Load() > s.served.Load()/10 {
			t.Errorf("%d calls failed, %d were served", s.failed.Load(), s.served.Load())
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { _ = s.call() })
		}
		synctest.Wait()
		before := s.refused.Load()
		if err := s.call(); !errors.Is(err, ErrOverloaded) || time.Since(began) > 0 || s.refused.Load() != before+1 {
			t.Errorf("a call too many is answered after %v with %v", time.Since(began), err)
		}
		wg.Wait()
	})
}

// TestGateRecovers checks that the gate probes a server that has stopped
// answering with one call at a time. Soon after the server is back, the gate
// serves all calls.
func TestGateRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(16, 10*time.Millisecond)
		s.press(64, time.Second)
		s.takes.Store(int64(time.Hour))
		go s.press(64, 40*time.Second)
		time.Sleep(5 * time.Second)
		s.failed.Store(0)
		time.Sleep(10 * time.Second)
		if n := s.failed.Load(); n < 4 || n > 20 {
			t.Errorf("%d calls were tried in ten seconds", n)
		}
		s.served.Store(0)
		s.takes.Store(int64(10 * time.Millisecond))
		for began := time.Now(); s.served.Load() < 1600; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("%d calls were served in five seconds", s.served.Load())
			}
		}
		time.Sleep(30 * time.Second)
	})
}

// TestGateTrialGivenUp checks that another trial may start if the caller of a
// trial goes away.
func TestGateTrialGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(16, time.Hour)
		for range strikes {
			_ = s.call()
		}
		ctx, cancel := context.WithCancel(t.Context())
		p, err := s.Enter(ctx) // waits for the pause
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan error)
		go func() { next <- s.call() }()
		synctest.Wait()
		cancel()
		s.Leave(p, Abandoned)
		s.takes.Store(0)
		if err := <-next; !errors.Is(err, context.DeadlineExceeded) && err != nil {
			t.Fatal(err)
		}
		if err := s.call(); err != nil {
			t.Error(err)
		}
	})
}

// TestGateResized checks that calls wait until there are connections, but not
// for ever.
func TestGateResized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(16, 10*time.Millisecond)
		s.Resize(0)
		go func() {
			if p, err := s.EnterFirst(t.Context()); err == nil {
				s.Leave(p, Served)
			}
		}()
		synctest.Wait()
		go s.press(64, 3*time.Second)
		time.Sleep(timeout / 4)
		if s.refused.Load() != 0 || s.waiting() != 65 {
			t.Errorf("%d wait, %d were refused", s.waiting(), s.refused.Load())
		}
		s.Resize(2)
		time.Sleep(timeout / 4)
		if n := s.most.Load(); n != 2 || s.served.Load() == 0 {
			t.Errorf("%d were inside at once, %d served", n, s.served.Load())
		}
		s.Resize(0)
		time.Sleep(timeout)
		cause := errors.New("no connection")
		p := make(chan error)
		go func() { p <- s.call() }()
		synctest.Wait()
		s.Dismiss(cause)
		if err := <-p; !errors.Is(err, cause) && !errors.Is(err, ErrOverloaded) {
			t.Error(err)
		}
		if s.waiting() != 0 {
			t.Errorf("%d wait", s.waiting())
		}
		time.Sleep(5 * time.Second)
	})
}

// TestGateFirst checks that calls that keep a node in service are neither
// refused nor late.
func TestGateFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, timeout*4/5)
		go s.press(50, 10*time.Second)
		time.Sleep(5 * time.Second)
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			p, err := s.EnterFirst(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			s.Leave(p, Served)
		}
		time.Sleep(10 * time.Second)
	})
}

// TestGateLeavesNothing checks that callers that give up leave the queue.
func TestGateLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(2, timeout/3)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*50*time.Millisecond)
				defer cancel()
				if p, err := s.Enter(ctx); err == nil {
					time.Sleep(timeout / 3)
					s.Leave(p, Abandoned)
				}
			})
		}
		wg.Wait()
		if len(s.line) != 0 || s.Gate.inside != 0 {
			t.Errorf("%d are in line, %d inside", len(s.line), s.Gate.inside)
		}
	})
}

func TestBackoff(t *testing.T) {
	const first, most = 100 * time.Millisecond, time.Second
	for failures, want := range []time.Duration{0, first, 2 * first, 4 * first, 8 * first, most, most} {
		for range 100 {
			if d := Backoff(failures, first, most); d < want/2 || d > want {
				t.Fatalf("after %d failures %v, want %v to %v", failures, d, want/2, want)
			}
		}
	}
	if d := Backoff(1_000_000, first, most); d > most {
		t.Error(d)
	}
}

// TestGateLongCall checks that a call without a deadline does not affect the
// estimate for other calls.
func TestGateLongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(4, 10*time.Millisecond)
		p, err := s.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		burst := func(when string) {
			t.Helper()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { _ = s.call() })
			}
			wg.Wait()
			if n := s.refused.Swap(0); n > 0 {
				t.Errorf("%s: %d of 20 calls were refused", when, n)
			}
		}
		time.Sleep(10 * timeout)
		burst("beside it")
		time.Sleep(10 * timeout)
		s.Leave(p, Served)
		burst("after it")
	})
}

// TryEnter lets in a call that needn't wait, and no other.
func TestTryEnter(t *testing.T) {
	g := NewGate(1, timeout)
	p, ok := g.TryEnter()
	if !ok {
		t.Fatal("the gate is open, and nobody is inside")
	}
	if _, ok := g.TryEnter(); ok {
		t.Error("two are inside, and one may be")
	}
	g.Leave(p, Served)
	g.Close(errors.New("closed"))
	if _, ok := g.TryEnter(); ok {
		t.Error("the gate is closed")
	}
}
