package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// leastOps is how many requests must be sent during a fault for its case to mean anything.
const leastOps = 100

// A fault is what happens to a site.
type fault struct {
	nodes    []int  // whose requests meet it; empty: those of all
	hit      func() // begins it, and returns when it should last from now on
	heal     func() // ends it
	length   time.Duration
	forever  time.Duration // length in the full form, if it is another
	wipes    bool          // the store is empty afterwards
	failover bool          // what a replica had not heard of yet may be gone
	undoes   bool          // ends too
	cutShort bool          // what was given up that waited for a replica may have been seen, and be gone
	deaf     bool          // its nodes answer as before
	fewer    bool          // a crash may leave a subject fewer sessions than its limit for a while
}

// suffer lets a fault happen while clients are at work, and checks all that must hold.
func (s *site) suffer(f fault) {
	s.Helper()
	s.serve()
	time.Sleep(time.Second)
	if s.resumes(); s.Failed() {
		s.FailNow()
	}
	length := f.length
	if soak() {
		length = max(3*length, f.forever)
	}

	sleepers := s.sleepers(32)
	from := s.h.now()
	changed := make(chan struct{})
	s.running.Go(func() {
		defer close(changed)
		time.Sleep(200 * time.Millisecond)
		s.change(sleepers, f.nodes)
	})
	f.hit()
	time.Sleep(length)
	met := func(to time.Duration) int { // requests that say something: to deaf nodes, or to all, of which those that work see what the others did
		all, there := within(s.h.all(), from, to, f.nodes...)
		if f.deaf {
			return there
		}
		return all
	}
	for met(s.h.now()) < leastOps && s.h.now() < from+length+10*time.Second {
		time.Sleep(100 * time.Millisecond)
	}
	f.heal()
	to := s.h.now()

	s.wake(sleepers[:16]) // at once, and when memory is in use again
	resumed := s.resumes()
	s.wake(sleepers[16:])
	<-changed
	s.stop()
	least := crowdLimit
	if f.fewer {
		least = 1
	}
	s.limitsHold(least)

	history := s.h.all()
	if f.wipes {
		history = wiped(history, from, to)
	}
	v := judge(history, nil)
	all, there := within(history, from, to, f.nodes...)
	s.Logf("the fault took %v, with %d requests, %d of them to its nodes; service was back %v after it; %s",
		(to - from).Round(time.Millisecond), all, there, resumed.Round(time.Millisecond), outcomes(history, from, to))
	if n := met(to); n < leastOps {
		s.Errorf("%d requests met the fault, which says little: want %d", n, leastOps)
	}
	problems := append(v.problems(), v.unsure...)
	if f.failover || f.cutShort {
		problems = append(s.excused(v, history, from, to, &f), v.unsure...)
	}
	s.report(problems)
}

// report fails the case for each problem.
func (s *site) report(problems []string) {
	s.Helper()
	problems = append(problems, s.h.broken...)
	for i, p := range problems {
		if i == 5 {
			s.Errorf("and %d more", len(problems)-i)
			break
		}
		s.Error(p)
	}
}

// wiped adds to each session that was there what the store's loss did to it.
func wiped(history []*op, from, to time.Duration) []*op {
	for session, part := range sessions(history) {
		if session == "" || part[0].sent > to {
			continue
		}
		w := &op{client: int(clients.Add(1)), kind: wipe, session: session, out: done, sent: from, got: to}
		if part[0].got > from {
			w.out = unknown // made before, or after
		}
		history = append(history, w)
	}
	return history
}

// excused returns the problems that a failover doesn't explain. Writes may be gone that were acknowledged from a second before it until
// the replica had taken over, ends only if it undoes them: the sessions that it hit are counted. So are those with a write of unknown outcome that
// was cut short: others may have read what it did, and nobody was told that it is there.
func (s *site) excused(v *verdict, history []*op, from, to time.Duration, f *fault) (problems []string) {
	lost, undone, unseen := 0, 0, 0
	for session, part := range sessions(history) {
		late := lateAnswers(part)
		found := append(late, v.sessions[session]...)
		gone := slices.ContainsFunc(part, func(o *op) bool {
			writes := o.kind != check && o.kind != strict && (f.undoes || o.kind != end && o.kind != logout)
			return f.failover && writes && o.out == done && o.got > from-time.Second && o.got < to
		})
		cut := slices.ContainsFunc(part, func(o *op) bool {
			return f.cutShort && o.out == unknown && o.sent > from-time.Second && o.sent < to && o.got-o.sent >= nodeTimeout
		})
		switch {
		case len(found) == 0:
		case gone && (f.undoes || len(late) == 0):
			if lost++; len(late) > 0 {
				undone++
			}
		case cut && len(late) == 0 && len(lostUpdates(part)) == 0:
			unseen++
		default:
			problems = append(problems, found...)
		}
	}
	s.Logf("of %d sessions the failover took something from %d, and brought %d back that had ended; from %d it took what nobody was told",
		v.checked, lost, undone, unseen)
	if f.undoes && undone == 0 {
		s.Error("the replica lacked nothing, so the case says nothing")
	}
	return problems
}

// outcomes counts what the requests of a time were answered.
func outcomes(history []*op, from, to time.Duration) string {
	count := map[string]int{}
	for _, o := range history {
		if o.sent >= from && o.sent <= to {
			count[o.out.String()]++
		}
	}
	return strings.TrimPrefix(fmt.Sprint(count), "map")
}

// A lab is a store that sites are built on.
type lab struct {
	name string
	on   func(t *testing.T) *site
}

var labs = []lab{
	{"Redis", func(t *testing.T) *site { s, _ := onRedis(t, servertest.RedisOptions{}); return s }},
	{"Cluster", func(t *testing.T) *site { s, _ := onCluster(t, 0); return s }},
	{"PostgreSQL", func(t *testing.T) *site { s, _ := onPostgreSQL(t, servertest.PostgreSQLOptions{}); return s }},
}

// Where what is between the nodes and the store is disturbed, it makes a difference on which side of a pooler.
var poolers = []lab{
	{"PgBouncer", func(t *testing.T) *site { s, _ := onPgBouncer(t); return s }},
	{"behind PgBouncer", func(t *testing.T) *site {
		s, p := onPgBouncer(t)
		s.commands, s.feeds = [nodeCount]proxies{1: {p.behind}}, [nodeCount]proxies{} // which is all nodes', and once is enough
		return s
	}},
}

// everywhere runs a case on every store, and in other labs.
func everywhere(t *testing.T, run func(s *site), more ...lab) {
	t.Parallel()
	for _, l := range append(more, labs...) {
		t.Run(l.name, func(t *testing.T) {
			long(t)
			run(l.on(t))
		})
	}
}

// long is a test of seconds.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds for each fault: make test has them")
	}
	t.Parallel()
}

// proxied is a fault of some nodes' connections.
func proxied(list proxies, toxics []toxic, length time.Duration) fault {
	return fault{hit: func() { list.add(toxics...) }, heal: list.heal, length: length}
}

func TestLatency(t *testing.T) {
	everywhere(t, func(s *site) { s.suffer(proxied(s.all(), slow, 2*time.Second)) })
}

// Half-open connections: one node's go silent, both ways, and so do those that it makes.
func TestHalfOpen(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.all(1), halfOpen, 3*time.Second)
		f.nodes = []int{1}
		s.suffer(f)
	})
}

func TestResets(t *testing.T) {
	everywhere(t, func(s *site) { s.suffer(proxied(s.all(), resets, 2*time.Second)) }, poolers...)
}

// TestFeedCut: a node writes and reads as before, but hears nothing from the others.
func TestFeedCut(t *testing.T) {
	everywhere(t, func(s *site) {
		f := fault{
			nodes: []int{1}, deaf: true, length: 2500 * time.Millisecond,
			hit:  func() { s.feeds[1].each((*proxy).cut) },
			heal: func() { s.feeds[1].each((*proxy).restore) },
		}
		s.suffer(f)
	})
}

// TestFeedSilent: the same, and nobody tells the node.
func TestFeedSilent(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.feeds[1], halfOpen, 3*time.Second)
		f.nodes, f.deaf = []int{1}, true
		s.suffer(f)
	})
}

// TestFeedSluggish: a node hears of everything, and its heartbeats come back, but more than a second late.
func TestFeedSluggish(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.feeds[1], sluggish, 3*time.Second)
		f.nodes, f.deaf = []int{1}, true
		s.suffer(f)
	})
}

// TestNodePaused: a node stands still, as a virtual machine that is moved does, and goes on with what it had in memory.
func TestNodePaused(t *testing.T) {
	everywhere(t, func(s *site) {
		s.suffer(fault{
			nodes: []int{1}, length: 3 * time.Second, forever: time.Minute,
			hit:  func() { s.processes[1].signal(s, sigstop) },
			heal: func() { s.processes[1].signal(s, sigcont) },
		})
	})
}

// TestRedisRestartedEmpty: all sessions are over, and none comes back.
func TestRedisRestartedEmpty(t *testing.T) {
	long(t)
	s, r := onRedis(t, servertest.RedisOptions{})
	s.suffer(fault{
		length: 1500 * time.Millisecond, wipes: true,
		hit:  func() { s.must(r.Kill()) },
		heal: func() { s.must(r.RestartEmpty()) },
	})
}

// TestRedisRestarted: with appendfsync always nothing that was acknowledged is lost.
func TestRedisRestarted(t *testing.T) {
	long(t)
	s, r := onRedis(t, servertest.RedisOptions{AppendOnly: true})
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(r.Kill()) },
		heal:   func() { s.must(r.Start()) },
	})
}

// TestI4ClusterFailover: a master dies while its replica lags behind, which then takes over. An end that was acknowledged has waited for the
// replica, so it holds; other writes may be gone.
func TestI4ClusterFailover(t *testing.T) {
	long(t)
	s, c := onCluster(t, 1)
	s.suffer(s.failover(c))
}

// TestClusterFailoverUnawaited: the same without waiting. An end may be undone if it was acknowledged just before the master died.
func TestClusterFailoverUnawaited(t *testing.T) {
	long(t)
	s, c := onCluster(t, 0)
	f := s.failover(c)
	f.undoes = true
	s.suffer(f)
}

func (s *site) failover(c *servertest.RedisCluster) fault {
	master := c.Masters()[0]
	replica, err := c.Replica(master)
	s.must(err)
	return fault{
		length: 500 * time.Millisecond, failover: true, fewer: true,
		hit: func() {
			do := func(command ...string) {
				_, err := replica.Do(command...)
				s.must(err)
			}
			do("CONFIG", "SET", "masterauth", "the wrong one") // it finds no way back to its master
			do("CLIENT", "KILL", "TYPE", "master")
			time.Sleep(700 * time.Millisecond)
			s.must(master.Kill())
			s.must(c.WaitTakeover(replica))
			do("CONFIG", "SET", "masterauth", "")
		},
		heal: func() { s.must(master.Start()); s.must(c.WaitHealthy()) },
	}
}

// TestPostgreSQLKilled: nothing that was acknowledged is lost.
func TestPostgreSQLKilled(t *testing.T) {
	long(t)
	s, p := onPostgreSQL(t, servertest.PostgreSQLOptions{})
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.Kill()) },
		heal:   func() { s.must(p.Start()) },
	})
}

// TestPostgreSQLDiskFull: the server's disk has no room left, for the data and for its log. PostgreSQL gives up when it can't
// write its log; what starts servers on the machine starts it again when there is room.
func TestPostgreSQLDiskFull(t *testing.T) {
	long(t)
	disk := servertest.SmallDisk(t, 96<<20)
	s, p := onPostgreSQL(t, servertest.PostgreSQLOptions{
		Dir: disk, InitArgs: []string{"--wal-segsize=1"}, Config: []string{"min_wal_size = 2MB", "max_wal_size = 4MB"},
	})
	ballast := filepath.Join(disk, "ballast")
	s.suffer(fault{
		length: 3 * time.Second,
		hit: func() {
			f, err := os.Create(ballast)
			s.must(err)
			defer f.Close()
			for block := make([]byte, 64<<10); err == nil; {
				_, err = f.Write(block)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				s.Fatal(err)
			}
			// There is room in the segments of the log that are there already, until they have been used.
			for began := time.Now(); countOf(s.h.all(), failed) == 0 && time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
				_, _ = p.Query("postgres", "SELECT pg_switch_wal()")
			}
		},
		heal: func() {
			out, err := p.Query("postgres", "CREATE TABLE full_disk AS SELECT repeat('x', 100) FROM generate_series(1, 100000)")
			if err == nil {
				s.Errorf("the disk wasn't full: %s", out)
			}
			s.Logf("with the disk full PostgreSQL says: %v", err)
			if n := countOf(s.h.all(), failed); n == 0 {
				s.Error("no request failed, so the case says nothing")
			}
			s.must(os.Remove(ballast))
			if !p.Running() {
				s.must(p.Start())
			}
		},
	})
}

func countOf(history []*op, out outcome) (n int) {
	for _, o := range history {
		if o.out == out {
			n++
		}
	}
	return n
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}
