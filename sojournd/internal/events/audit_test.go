package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

func openAudit(t *testing.T, f AuditFile) io.WriteCloser {
	t.Helper()
	w, err := OpenAudit(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// readAudit returns the lines of a file.
func readAudit(t *testing.T, path string) (lines []map[string]any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		t.Errorf("%s ends within a line", path)
	}
	scan := bufio.NewScanner(bytes.NewReader(b))
	for scan.Scan() {
		var line map[string]any
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			t.Errorf("%q: %v", scan.Text(), err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestAuditLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	audit := openAudit(t, AuditFile{Path: path})
	h := newHub(t, Options{Audit: audit}, App{Name: "shop"})
	client := sojourn.Client{IP: netip.MustParseAddr("203.0.113.7"), UserAgent: "Browser/1\n"}
	h.Observer("shop")(sojourn.Event{
		Kind: sojourn.EventAuthenticated, Time: time.Date(2026, 11, 24, 10, 30, 0, 0, time.FixedZone("local", 3600)), App: "shop",
		Session: sojourn.ID{1}, Subject: "alice", Client: client, AMR: []string{"pwd", "otp"},
	})
	h.Observer("shop")(sojourn.Event{Kind: sojourn.EventEnded, App: "elsewhere", Subject: "bob", Reason: sojourn.ReasonIdle})
	h.Operated("shop", "backend-2026", "end_subject", "alice", "ok", "192.0.2.1")

	lines := readAudit(t, path)
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []map[string]any{
		{
			"kind": "authenticated", "time": "2026-11-24T09:30:00Z", "app": "shop", "session": sojourn.ID{1}.String(), "subject": "alice",
			"client": map[string]any{"ip": "203.0.113.7", "user_agent": "Browser/1\n"}, "amr": []any{"pwd", "otp"}, "level": 0.0,
		},
		{"kind": "ended", "app": "elsewhere", "subject": "bob", "reason": "idle", "time": "0001-01-01T00:00:00Z"},
		{"kind": "operation", "app": "shop", "key": "backend-2026", "action": "end_subject", "target": "alice", "result": "ok", "ip": "192.0.2.1"},
	} {
		got := lines[i]
		if i == 0 && got["id"] == nil || i == 2 && got["time"] == nil {
			t.Errorf("line %d lacks its ID or time", i)
		}
		delete(got, "id")
		if i == 2 {
			delete(got, "time")
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("line %d:\n got %v\nwant %v", i, got, want)
		}
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// A full file is renamed. No line is lost or torn by concurrent writes, and
// only the owner can read the files.
func TestAuditRotates(t *testing.T) {
	dir := t.TempDir()
	audit := openAudit(t, AuditFile{Path: filepath.Join(dir, "audit.jsonl"), MaxBytes: 1})
	h := newHub(t, Options{Audit: audit}, App{Name: "shop"}, App{Name: "blog"})
	const each = 8000 // of 130 bytes: more than 1 MiB for each of the two
	var wg sync.WaitGroup
	for _, app := range []string{"shop", "blog"} {
		wg.Go(func() { observe(h, app, 0, each) })
	}
	wg.Wait()
	if err := audit.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 2 {
		t.Fatalf("it wasn't rotated: %v", files)
	}
	seen := map[string]bool{}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		info, err := f.Info()
		if err != nil || info.Size() > 1<<20 || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		for _, line := range readAudit(t, path) {
			seen[fmt.Sprint(line["app"], line["subject"])] = true
		}
	}
	if len(seen) != 2*each {
		t.Errorf("%d of %d events are there", len(seen), 2*each)
	}
}

func TestAuditCannotBeOpened(t *testing.T) {
	for path, want := range map[string]string{
		"audit.jsonl": "must be absolute",
		filepath.Join(t.TempDir(), "nowhere", "x"): "no such file or directory",
		t.TempDir(): "is a directory",
	} {
		if _, err := OpenAudit(AuditFile{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// A wrong name damages no other file, such as the store.
func TestAuditSparesOtherFiles(t *testing.T) {
	for text, want := range map[string]string{
		"": "", `{"kind":"created"}` + "\n": "", `{"kind":"cre`: "",
		"SQLite format 3\x00": "other than an audit log", "# a configuration\n": "other than an audit log",
	} {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := OpenAudit(AuditFile{Path: path})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err == nil {
			_ = w.Close()
		}
	}
}

// fragile fails on demand.
type fragile struct {
	bytes.Buffer
	err error
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Buffer.Write(b)
}

// If the audit log cannot be written, nothing else fails. The log says when
// that begins and when it ends.
func TestAuditFails(t *testing.T) {
	var logs bytes.Buffer
	audit := &fragile{}
	h := newHub(t, Options{Audit: audit, Log: slog.New(slog.NewTextHandler(&logs, nil))}, App{Name: "shop"})
	server := serveHub(t, h)
	observe(h, "shop", 0, 1)
	audit.err = errors.New("disk full")
	observe(h, "shop", 1, 4)
	audit.err = nil
	observe(h, "shop", 4, 6)
	subscribe(t, server, "/shop?last=6", "").want(0, 6)
	wantMetric(t, h, 3, "sojourn_audit_errors_total")
	if n := strings.Count(audit.String(), "\n"); n != 3 {
		t.Errorf("%d lines", n)
	}
	if text := logs.String(); strings.Count(text, "disk full") != 1 || strings.Count(text, "written again") != 1 {
		t.Errorf("the log:\n%s", text)
	}
}

func TestMetrics(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	observe(h, "shop", 0, 5)
	s := subscribe(t, server, "/shop", "nonsense")
	s.wantGap(0)
	wantMetric(t, h, 1, "sojourn_event_streams", "shop")
	wantMetric(t, h, 0, "sojourn_event_streams", "blog")
	wantMetric(t, h, 5, "sojourn_events_total", "shop")
	wantMetric(t, h, 1, "sojourn_event_gaps_total", "shop")
	for _, reason := range []string{deadFull, deadExpired, deadGone, deadRemoved, deadShutdown} {
		wantMetric(t, h, 0, "sojourn_webhook_dead_letters_total", "blog", reason) // there before the first
	}
}

// An event has all fields of sojourn.Event. The test fails if a new one is
// forgotten.
func TestEventHasAllFields(t *testing.T) {
	full := sojourn.Event{
		Kind: sojourn.EventAuthenticated, Time: time.UnixMilli(1), App: "app-1", Session: sojourn.ID{7}, Subject: "subject-1",
		Client: sojourn.Client{IP: netip.MustParseAddr("192.0.2.1"), UserAgent: "agent-1"}, Reason: "reason-1", Refusal: "refusal-1",
		Was: sojourn.Client{IP: netip.MustParseAddr("192.0.2.2"), UserAgent: "agent-2"}, Level: 3, AMR: []string{"amr-1"}, Detail: "detail-1",
	}
	e := eventOf(full)
	text := string(encode(&e))
	for _, want := range []string{"authenticated", "1970-01-01T00:00:00.001Z", "app-1", full.Session.String(), "subject-1", "192.0.2.1", "agent-1", "reason-1", "refusal-1", "192.0.2.2", "agent-2", `"level":3`, "amr-1", "detail-1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	kinds := Kinds()
	slices.Sort(kinds)
	if len(slices.Compact(kinds)) != 12 {
		t.Errorf("kinds: %v", kinds)
	}
}
