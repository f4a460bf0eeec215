package sqlitestore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// A killed process leaves its writes in the kernel. So only a power failure
// shows that an acknowledgement came too early, or the order of the system
// calls, which these tests read.

// checkpointAlways moves each write into the file. (The driver runs pragmas in
// alphabetical order, so 2 comes after 1000 and wins.)
const checkpointAlways = "wal_autocheckpoint(2)"

func init() { children["sync"] = syncChild }

// syncChild makes n writes, and reports each.
func syncChild(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := openWith(ctx, args[0], Options{}, args[2:]...)
	if err != nil {
		return err
	}
	for i := range n {
		d := deed{Kind: "create", ID: store.ID{byte(i), 1}, At: crashEpoch}
		if _, err := s.Create(ctx, "shop", crashRecord(20, d), crashCreate(d)); err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "ack %d\n", i)
	}
	return s.Close()
}

// TestI6SyncBeforeAcknowledgement reads the system calls of a writing process:
// the log must be synced before each acknowledgement. The test must notice that
// it isn't with synchronous=OFF, nor with NORMAL, which syncs at checkpoints
// only.
func TestI6SyncBeforeAcknowledgement(t *testing.T) {
	t.Parallel()
	needs(t, "strace")
	for _, c := range []struct {
		name    string
		pragmas []string
		fault   string // what the test must find; empty: nothing
	}{
		{"AsItIs", nil, ""},
		{"CheckpointAfterEachWrite", []string{checkpointAlways}, ""},
		{"SynchronousOff", []string{"synchronous(OFF)"}, "acknowledged before the log was synced"},
		{"SynchronousOffAtCheckpoints", []string{"synchronous(OFF)", checkpointAlways}, "the log begins anew before"},
		{"SynchronousNormal", []string{"synchronous(NORMAL)"}, "acknowledged before the log was synced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const writes = 20
			path := filepath.Join(t.TempDir(), "new", "sessions.db")
			calls := filepath.Join(t.TempDir(), "calls")
			strace := []string{"strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "20", "-o", calls, "-e", "signal=none", "-e",
				"trace=write,pwrite64,pwritev,writev,fsync,fdatasync,sync_file_range,msync,ftruncate,unlink,unlinkat"}
			out, err := child(t.Context(), strace, append([]string{"sync", path, strconv.Itoa(writes)}, c.pragmas...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(out), "ack "); got != writes {
				t.Fatalf("%d acknowledgements, want %d", got, writes)
			}
			text, err := os.ReadFile(calls)
			if err != nil {
				t.Fatal(err)
			}
			acks, faults := unsynced(path, string(text))
			switch {
			case acks != writes:
				t.Fatalf("the calls show %d acknowledgements of %d:\n%s", acks, writes, text)
			case c.fault == "" && len(faults) > 0:
				t.Errorf("%s, and %d more, in\n%s", faults[0], len(faults)-1, text)
			case c.fault != "" && strings.Count(strings.Join(faults, "\n"), c.fault) < writes/2:
				t.Errorf("the test saw only %q", faults)
			}
		})
	}
}

// A line of strace: a whole call, its beginning, or its end.
var (
	straceCall    = regexp.MustCompile(`^(\d+) +(\w+)\((?:\d+<([^>]*)>)?(.*)$`)
	straceResumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)`)
	straceResult  = regexp.MustCompile(` = (-?\d+)( \w+ \(.*\))?$`)
)

// unsynced looks for acknowledgements before which something was written and
// not synced: to the log; to the file, when the log starts over; to the
// directory, which has the names of both; or to the parent of the directory,
// which Open has created.
func unsynced(path, text string) (acks int, faults []string) {
	type file struct{ written, synced int } // numbers of lines
	dirs := []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))}
	files := map[string]*file{path: {}, path + "-wal": {}, dirs[0]: {}, dirs[1]: {}}
	log, db := files[path+"-wal"], files[path]
	type syncing struct {
		f     *file
		since int
	}
	under := map[string]syncing{}
	logged := 0
	for i, line := range strings.Split(text, "\n") {
		i++
		if m := straceResumed.FindStringSubmatch(line); m != nil {
			if s, ok := under[m[1]]; ok && m[3] == "0" {
				s.f.synced = s.since
			}
			delete(under, m[1])
			continue
		}
		m := straceCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := files[m[3]]
		switch call := m[2]; {
		case strings.HasPrefix(m[4], `, "ack `):
			acks++
			if log.written <= logged {
				faults = append(faults, fmt.Sprintf("line %d: acknowledged without a write to the log", i))
			}
			if log.synced < log.written {
				faults = append(faults, fmt.Sprintf("line %d: acknowledged before the log was synced, last written in line %d, synced as of %d", i, log.written, log.synced))
			}
			for _, dir := range dirs {
				if f := files[dir]; f.synced <= f.written {
					faults = append(faults, fmt.Sprintf("line %d: acknowledged before the directory %s was synced", i, dir))
				}
			}
			logged = log.written
		case strings.HasPrefix(call, "unlink"):
			files[dirs[0]].written = i // the next log has a new name
		case f == nil:
		case call == "fsync" || call == "fdatasync":
			if r := straceResult.FindStringSubmatch(line); r == nil {
				under[m[1]] = syncing{f, i}
			} else if r[1] == "0" {
				f.synced = i
			}
		case strings.HasPrefix(call, "pwrite") || strings.HasPrefix(call, "write"):
			if f == log && strings.Contains(line, ", 32, 0") && db.synced < db.written {
				faults = append(faults, fmt.Sprintf("line %d: the log begins anew before the file was synced, last written in line %d", i, db.written))
			}
			f.written = i
		}
	}
	return acks, faults
}
