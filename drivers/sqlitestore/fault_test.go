//go:build linux && amd64

package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/sojourn-go/sojourn/store"
)

// Faults of the disk. strace makes every n-th call of a kind on the store's
// files fail, counted in each thread of a child. The child makes dummy calls
// until one fails, and then some more, so that the k-th call after them fails
// next. Calls that must not fail come before. So one process tries every k,
// until there is no k-th call.
const (
	dummy  = "dummy"
	absent = "absent"
)

// faultEvery is n: more calls than a thread makes in a round.
var faultEvery = map[string]int{"run": 100, "open": 250}

// A faultCall is a system call that can fail.
type faultCall struct {
	name string
	make func(dir string, fd int) error
}

var faultCalls = []faultCall{
	{"pwrite64", func(_ string, fd int) error { _, err := syscall.Pwrite(fd, []byte{0}, 0); return err }},
	{"pread64", func(_ string, fd int) error { _, err := syscall.Pread(fd, make([]byte, 1), 0); return err }},
	{"fdatasync", func(_ string, fd int) error { return syscall.Fdatasync(fd) }},
	{"fsync", func(_ string, fd int) error { return syscall.Fsync(fd) }},
	{"ftruncate", func(_ string, fd int) error { return syscall.Ftruncate(fd, 1) }},
	{"openat", func(dir string, _ int) error {
		fd, err := syscall.Open(filepath.Join(dir, dummy), syscall.O_RDWR, 0)
		if err == nil {
			err = syscall.Close(fd)
		}
		return err
	}},
	{"unlink", func(dir string, _ int) error {
		name, err := syscall.BytePtrFromString(filepath.Join(dir, absent))
		if err != nil {
			return err
		}
		// Package syscall has only unlinkat, which is another call.
		if _, _, errno := syscall.Syscall(syscall.SYS_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0); errno != syscall.ENOENT {
			return errno
		}
		return nil
	}},
}

// A step is one call of the script.
type step struct {
	name string
	do   func(ctx context.Context, s *Store) error
	// done reports whether the step had its effect. It returns an error if the
	// step had half an effect.
	done func(ctx context.Context, s *Store) (bool, error)
	many bool // a call of several transactions; a failed call may have done some of them
}

// faultSession returns a session for one step, so that a failed step doesn't
// affect the next.
func faultSession(name, subject string) *store.Record {
	rec := crashRecord(20, deed{ID: store.ID([]byte((name + strings.Repeat(" ", 16))[:16])), At: crashEpoch})
	rec.Subject = subject
	return rec
}

const faultNow = crashEpoch + 1000

func add(ctx context.Context, s *Store, app string, rec *store.Record) error {
	_, err := s.Create(ctx, app, rec, store.CreateOptions{Arrived: crashEpoch + 1, Now: crashEpoch + 1})
	return err
}

// prepareFaults creates the sessions that the script uses.
func prepareFaults(ctx context.Context, s *Store) (err error) {
	for _, name := range []string{"update", "touch", "end", "confirm", "read", "due"} {
		rec := faultSession(name, "")
		if name == "due" {
			rec.ExpiresAt = faultNow
		}
		err = errors.Join(err, add(ctx, s, "shop", rec))
	}
	return errors.Join(err, add(ctx, s, "shop", faultSession("ada 1", "ada")),
		add(ctx, s, "shop", faultSession("ada 2", "ada")), add(ctx, s, "blog", faultSession("all", "")))
}

// find reads a session. It returns no error for a tombstone.
func find(ctx context.Context, s *Store, app, name string) (rec store.Record, ended bool, err error) {
	err = s.Get(ctx, app, faultSession(name, "").ID, true, &rec)
	if errors.Is(err, store.ErrEnded) {
		return rec, true, nil
	}
	return rec, false, err
}

func is(app, name string, effect func(rec *store.Record) bool) func(context.Context, *Store) (bool, error) {
	return func(ctx context.Context, s *Store) (bool, error) {
		rec, _, err := find(ctx, s, app, name)
		return effect(&rec), err
	}
}

func haveEnded(app string, names ...string) func(context.Context, *Store) (bool, error) {
	return func(ctx context.Context, s *Store) (bool, error) {
		n := 0
		for _, name := range names {
			_, ended, err := find(ctx, s, app, name)
			if err != nil {
				return false, err
			}
			if ended {
				n++
			}
		}
		if n > 0 && n < len(names) {
			return false, fmt.Errorf("%d of %d sessions have ended", n, len(names))
		}
		return n > 0, nil
	}
}

func creation(name string) step {
	return step{name: name, do: func(ctx context.Context, s *Store) error {
		return add(ctx, s, "shop", faultSession(name, "bob"))
	}, done: func(ctx context.Context, s *Store) (bool, error) {
		_, _, err := find(ctx, s, "shop", name)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}}
}

var script = []step{
	creation("create"),
	{name: "update", do: func(ctx context.Context, s *Store) error {
		rec := faultSession("update", "")
		rec.Revision, rec.Values = 1, crashValues(rec.ID, 2)
		_, err := s.Update(ctx, "shop", rec, store.UpdateOptions{Arrived: faultNow, Now: faultNow})
		return err
	}, done: is("shop", "update", func(rec *store.Record) bool {
		return rec.Revision == 2 && string(rec.Values) == string(crashValues(rec.ID, 2))
	})},
	{name: "touch", do: func(ctx context.Context, s *Store) error {
		return s.Touch(ctx, "shop", faultSession("touch", "").ID, faultNow, faultNow, store.Client{})
	}, done: is("shop", "touch", func(rec *store.Record) bool { return rec.LastSeenAt == faultNow })},
	{name: "read", do: func(ctx context.Context, s *Store) error {
		rec, _, err := find(ctx, s, "shop", "read")
		if err == nil && string(rec.Values) != string(crashValues(rec.ID, 1)) {
			return fmt.Errorf("read %+v", rec)
		}
		return err
	}},
	{name: "list", do: func(ctx context.Context, s *Store) error {
		list, _, err := s.List(ctx, "shop", store.ListOptions{Subject: "ada", Limit: 10, Now: faultNow})
		if err == nil && len(list) != 2 {
			return fmt.Errorf("listed %d sessions of 2", len(list))
		}
		return err
	}},
	{name: "confirm", do: func(ctx context.Context, s *Store) error {
		rec := faultSession("confirm", "")
		return s.Confirm(ctx, "shop", rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: faultNow, ConfirmedAt: faultNow, Until: faultNow})
	}, done: is("shop", "confirm", func(rec *store.Record) bool { return rec.Secret.ConfirmedAt == faultNow && rec.Revision == 2 })},
	{name: "end", do: func(ctx context.Context, s *Store) error {
		_, err := s.End(ctx, "shop", faultSession("end", "").ID, store.ReasonLogout, faultNow)
		return err
	}, done: haveEnded("shop", "end")},
	{name: "endsubject", many: true, do: func(ctx context.Context, s *Store) error {
		_, err := s.EndSubject(ctx, "shop", "ada", store.ID{}, store.ReasonRevoked, faultNow)
		return err
	}, done: haveEnded("shop", "ada 1", "ada 2")},
	{name: "endall", do: func(ctx context.Context, s *Store) error {
		return s.EndAll(ctx, "blog", faultNow)
	}, done: haveEnded("blog", "all")},
	{name: "sweep", many: true, do: func(ctx context.Context, s *Store) error {
		_, _, err := s.Sweep(ctx, "shop", faultNow, 100)
		return err
	}, done: haveEnded("shop", "due")},
	creation("create again"),
}

// A faultChild is the state of the child.
type faultChild struct {
	path  string
	full  bool // the faults say that the disk is full
	call  faultCall
	fd    int // of the dummy file
	every int
	k     int
	old   bool // there was a store before
}

func init() { children["faults"] = runFaults }

// runFaults tries every k. The test reads its output, and strace records it.
func runFaults(args []string) error {
	dir, template, mode := args[0], args[1], args[3]
	c := &faultChild{path: filepath.Join(dir, "sessions.db"), full: args[4] == "ENOSPC", every: faultEvery[mode]}
	for _, call := range faultCalls {
		if call.name == args[2] {
			c.call = call
		}
	}
	first, err := strconv.Atoi(args[5])
	if err != nil {
		return err
	}
	stride, err := strconv.Atoi(args[6])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, dummy), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	c.fd = int(f.Fd())
	_, err = os.Stat(template)
	c.old = err == nil
	for c.k = first; c.k < c.every; c.k += stride {
		fmt.Printf("round %d\n", c.k)
		err := c.onThread(func() error { return refill(dir, template) })
		if err != nil {
			return err
		}
		var met bool
		if mode == "run" {
			met, err = c.run()
		} else {
			met, err = c.open()
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", c.call.name, c.k, err)
		}
		if !met {
			fmt.Println("end")
			return nil
		}
	}
	return fmt.Errorf("more than %d calls of %s", c.every, c.call.name)
}

// onThread calls fn in a thread that nothing else uses, far from the next
// fault.
func (c *faultChild) onThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with the goroutine
		if err := c.disarm(); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func (c *faultChild) disarm() error {
	for range 2 * c.every {
		if c.call.make(filepath.Dir(c.path), c.fd) != nil {
			return nil //nolint:nilerr // the fault was wanted
		}
	}
	return errors.New("no call fails")
}

// refill replaces the store's files by the template's.
func refill(dir, template string) error {
	old, err := filepath.Glob(filepath.Join(dir, "sessions.db*"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(template, "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// arm makes the thread's k-th call from now on fail.
func (c *faultChild) arm() error {
	if err := c.disarm(); err != nil {
		return err
	}
	for range c.every - c.k {
		if err := c.call.make(filepath.Dir(c.path), c.fd); err != nil {
			return fmt.Errorf("a dummy call: %w", err)
		}
	}
	return nil
}

// met reports whether the thread has met its fault. If not, the thread meets it
// now.
func (c *faultChild) met() bool {
	for range c.k {
		if c.call.make(filepath.Dir(c.path), c.fd) != nil {
			return false
		}
	}
	return true
}

// say reports what a step returned, and returns whether that was nil.
func (c *faultChild) say(name string, err error) bool {
	if err == nil {
		fmt.Printf("ok %s\n", name)
		return true
	}
	fmt.Printf("failed %s: %s: %s\n", name, c.judge(err), strings.ReplaceAll(err.Error(), "\n", "; "))
	return false
}

// judge names the kind of an error, which must not claim a wrong cause.
func (c *faultChild) judge(err error) string {
	for _, e := range append([]error{ErrInUse, ErrNotDatabase, ErrNewer, store.ErrClosed}, refusals...) {
		if errors.Is(err, e) && !(e == store.ErrFull && c.full) { //nolint:errorlint // it is this very one
			return "WRONG"
		}
	}
	switch {
	case errors.Is(err, ErrCorrupt) && c.call.name != "pread64": // SQLite reports an unreadable disk as damaged
		return "WRONG"
	case errors.Is(err, store.ErrFull):
		return "full"
	case errors.Is(err, store.ErrUncertain):
		return "uncertain"
	}
	return "other"
}

// run runs the script with the fault in the writer's thread, or in the caller's
// for reads.
func (c *faultChild) run() (met bool, err error) {
	ctx := context.Background()
	var s *Store
	err = c.onThread(func() (err error) {
		s, err = openWith(ctx, c.path, Options{}, checkpointAlways)
		return err
	})
	if err != nil {
		return false, err
	}
	armed := false
	err = s.write(ctx, func(*tx) error {
		if armed {
			return nil
		}
		armed = true
		runtime.LockOSThread()
		return c.arm()
	})
	if err != nil {
		return false, err
	}
	outcome := map[string]error{}
	failed := 0
	err = c.onThread(func() error {
		if err := c.arm(); err != nil {
			return err
		}
		for _, st := range script {
			if outcome[st.name] = st.do(ctx, s); !c.say(st.name, outcome[st.name]) {
				failed++
			}
		}
		met = c.met()
		return nil
	})
	if err != nil {
		return false, err
	}
	if s.write(ctx, func(*tx) error { met = c.met() || met; return nil }) != nil {
		met = true
	}
	if failed > 2 || failed == 2 && c.call.name != "pread64" { // both threads make this call
		return met, fmt.Errorf("%d steps have failed: %v", failed, outcome)
	}
	if err := c.onThread(s.Close); err != nil {
		return met, fmt.Errorf("Close: %w", err)
	}
	return met, c.onThread(func() error { return c.verify(outcome) })
}

// open runs Open and Close with the fault.
func (c *faultChild) open() (met bool, err error) {
	ctx := context.Background()
	st := creation("create")
	outcome := map[string]error{}
	err = c.onThread(func() error {
		if err := c.arm(); err != nil {
			return err
		}
		s, err := openWith(ctx, c.path, Options{})
		if !c.say("open", err) {
			if s, err = openWith(ctx, c.path, Options{}); err != nil {
				return fmt.Errorf("after the fault: %w", err)
			}
		}
		if err := s.write(ctx, func(*tx) error { runtime.LockOSThread(); return c.disarm() }); err != nil {
			return err
		}
		if outcome[st.name] = st.do(ctx, s); outcome[st.name] != nil {
			return fmt.Errorf("create: %w", outcome[st.name])
		}
		c.say("close", s.Close())
		met = c.met()
		return nil
	})
	if err != nil {
		return met, err
	}
	return met, c.onThread(func() error { return c.verify(outcome) })
}

// verify opens the file without a fault, and compares its contents with the
// outcome of the steps.
func (c *faultChild) verify(outcome map[string]error) error {
	ctx := context.Background()
	s, err := Open(ctx, c.path, Options{})
	if err != nil {
		return err
	}
	for _, st := range script {
		err, tried := outcome[st.name]
		if !tried || st.done == nil {
			continue
		}
		done, half := st.done(ctx, s)
		switch {
		case half != nil:
			return fmt.Errorf("%s, which returned \"%v\": %w", st.name, err, half) //nolint:errorlint // what it returned may be nil
		case err == nil && !done:
			return fmt.Errorf("%s was acknowledged, but is lost", st.name)
		case err != nil && done && !st.many && !errors.Is(err, store.ErrUncertain):
			return fmt.Errorf("%s failed with certainty, but happened: %w", st.name, err)
		}
	}
	if c.old {
		if _, _, err := find(ctx, s, "shop", "read"); err != nil {
			return err
		}
	}
	if got, err := s.writer.conn.first("PRAGMA integrity_check"); err != nil || toString(got[0]) != "ok" {
		return fmt.Errorf("integrity_check: %v, %w", got, err)
	}
	return s.Close()
}

// TestI6Faults makes each system call on the store's files fail, one at a time,
// while the store is used, opened and closed. The error must reach a caller, no
// acknowledged write may be lost, no refused write may be there, and the next
// call must succeed.
func TestI6Faults(t *testing.T) {
	t.Parallel()
	needs(t, "strace")
	template := t.TempDir()
	dir := t.TempDir()
	s := openIn(t, dir)
	if err := prepareFaults(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := refill(template, dir); err != nil { // as a killed process leaves them, with a log
		t.Fatal(err)
	}
	closeStore(t, s)

	type fault struct {
		call, errno   string
		first, stride int // the values of k; SOJOURN_SOAK tries all
		atLeast       int // fewer calls mean that the test checks nothing
	}
	for _, c := range []struct {
		name, mode, template string
		faults               []fault
	}{
		{"Use", "run", template, []fault{
			{"pwrite64", "EIO", 1, 2, 60}, {"pwrite64", "ENOSPC", 2, 2, 60}, {"fdatasync", "EIO", 1, 1, 20}, {"pread64", "EIO", 1, 1, 20}, {"ftruncate", "EIO", 1, 1, 3}}},
		{"OpenAndClose", "open", template, []fault{
			{"pwrite64", "EIO", 1, 4, 5}, {"pwrite64", "ENOSPC", 3, 4, 5}, {"fdatasync", "EIO", 1, 1, 3}, {"pread64", "EIO", 1, 4, 5}, {"ftruncate", "EIO", 1, 1, 3}, {"openat", "EMFILE", 1, 1, 4}, {"unlink", "EACCES", 1, 1, 1}}},
		{"OpenNew", "open", "", []fault{
			{"pwrite64", "EIO", 1, 6, 20}, {"pwrite64", "ENOSPC", 4, 6, 20}, {"fdatasync", "EIO", 1, 1, 10}, {"fsync", "EIO", 1, 1, 1}, {"pread64", "EIO", 1, 4, 20}, {"ftruncate", "EIO", 1, 1, 3}, {"openat", "EMFILE", 1, 1, 4}, {"unlink", "EACCES", 1, 1, 1}}},
	} {
		for _, f := range c.faults {
			t.Run(c.name+"/"+f.call+"/"+f.errno, func(t *testing.T) {
				t.Parallel()
				if testing.Short() && (f.call != "fdatasync" || c.mode != "run") {
					t.Skip("every other fault takes its time")
				}
				first, stride := f.first, f.stride
				if os.Getenv("SOJOURN_SOAK") != "" {
					first, stride = 1, 1
				}
				tryFaults(t, c.mode, c.template, f.call, f.errno, first, stride, f.atLeast)
			})
		}
	}
}

func tryFaults(t *testing.T, mode, template, call, errno string, first, stride, atLeast int) {
	dir := t.TempDir()
	if template == "" {
		template = filepath.Join(dir, "nothing")
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log := filepath.Join(t.TempDir(), "calls")
	strace := []string{"strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "40", "-o", log, "-e", "signal=none", "-e", "trace=write,pwrite64,fdatasync," + call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d+%d", call, errno, faultEvery[mode], faultEvery[mode])}
	for _, name := range []string{"", "out", dummy, absent, "sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db-journal", "sessions.db-lock", "sessions.db-reserve"} {
		strace = append(strace, "-P", filepath.Join(dir, name))
	}
	began := time.Now()
	cmd := plainChild(t, strace, "faults", dir, template, call, mode, errno, strconv.Itoa(first), strconv.Itoa(stride))
	cmd.Stdout = out
	failed := cmd.Run()
	report, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if failed != nil || !strings.HasSuffix(string(report), "end\n") {
		t.Fatalf("%v\n%s", failed, last(string(report), 40))
	}
	seen := readFaults(string(calls))
	rounds := strings.Count(string(report), "round ")
	t.Logf("%d rounds in %v: %v", rounds, time.Since(began).Round(time.Millisecond), seen)
	if tried := (rounds - 1) * stride; tried < atLeast {
		t.Errorf("only %d calls could fail, of at least %d", tried, atLeast)
	}
	for _, line := range strings.Split(string(report), "\n") {
		kind := reportLine.FindStringSubmatch(line)
		switch {
		case kind == nil:
		case kind[2] == "WRONG",
			mode == "run" && errno == "ENOSPC" && kind[2] != "full",
			mode == "run" && call == "fdatasync" && kind[2] != "uncertain":
			t.Errorf("the wrong kind of error: %s", line)
		}
	}
	if mode == "run" && len(seen.vanished) > 0 {
		t.Errorf("errors that reached no caller:\n%s", strings.Join(seen.vanished, "\n"))
	}
}

var reportLine = regexp.MustCompile(`^failed ([^:]*): (\w+):`)

// Faults are the faults that strace has injected.
type faults struct {
	where    map[string]int // by the end of the file's name
	vanished []string
}

func (f faults) String() string { return fmt.Sprint(f.where) }

var (
	faultLine  = regexp.MustCompile(`(\w+)\((?:\d+|AT_FDCWD)<([^>]*)>.*\(INJECTED\)`)
	walLine    = regexp.MustCompile(`(pwrite64|fdatasync)\(\d+<[^>]*-wal>`)
	reportCall = regexp.MustCompile(`write\(1<[^>]*/out>, "([^"]*)`)
)

// readFaults finds the faults in the log, and those after which a step
// succeeded although it had to fail: a write to the log, and the sync after it.
// (A checkpoint syncs the log too, after a commit has done so. It may fail
// silently, because nothing is lost.) On a full disk the transaction is
// repeated: then the log is written and synced again.
func readFaults(log string) faults {
	f := faults{where: map[string]int{}}
	must, previous := "", ""
	rewritten := false
	for _, line := range strings.Split(log, "\n") {
		wal := walLine.FindStringSubmatch(line)
		if m := faultLine.FindStringSubmatch(line); m != nil && !strings.HasSuffix(m[2], "/"+dummy) {
			_, name, _ := strings.Cut(filepath.Base(m[2]), ".")
			f.where[name]++
			if wal != nil && (wal[1] == "pwrite64" || previous == "pwrite64") {
				must, rewritten = line, false
			}
		} else if wal != nil && strings.Contains(must, "ENOSPC") {
			if wal[1] == "fdatasync" && rewritten {
				must = ""
			}
			rewritten = rewritten || wal[1] == "pwrite64"
		}
		if wal != nil {
			previous = wal[1]
		}
		if m := reportCall.FindStringSubmatch(line); m != nil {
			if must != "" && strings.HasPrefix(m[1], "ok ") {
				f.vanished = append(f.vanished, must+"\n\t"+m[1])
			}
			must = ""
		}
	}
	return f
}

func last(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
