package sqlitestore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// contents returns the hash of each file below a directory except the locks.
func contents(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(name, "-lock") {
			return err
		}
		b, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir)] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameContents(t testing.TB, dir string, before map[string][32]byte) {
	t.Helper()
	after := contents(t, dir)
	for name, hash := range before {
		if now, ok := after[name]; !ok || now != hash {
			t.Errorf("%s was changed", name)
		}
		delete(after, name)
	}
	for name := range after {
		t.Errorf("%s was made", name)
	}
}

// statements runs statements as another program might.
func statements(t testing.TB, path string, list ...string) {
	t.Helper()
	c, err := connect(t.Context(), dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if _, err := c.exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// filled creates a store with n sessions at a path, and closes it.
func filled(t testing.TB, path string, n int) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		create(t, s, session(i, fmt.Sprint("subject ", i%50), present))
	}
	closeStore(t, s)
}

// TestBadFiles opens files that aren't a store, or not one for this program.
// Each error must name the file and say what to do, and nothing may change.
func TestBadFiles(t *testing.T) {
	text := strings.Repeat("This is no database. ", 1000)
	write := func(name, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string)
		is   error
		says string
	}{
		{"Text", write("sessions.db", text), ErrNotDatabase, "choose another file"},
		{"ShortText", write("sessions.db", "hello"), ErrNotDatabase, "choose another file"},
		{"HeaderOnly", write("sessions.db", "SQLite format 3\x00"), ErrNotDatabase, "choose another file"},
		{"OtherProgram", func(t *testing.T, dir string) {
			statements(t, filepath.Join(dir, "sessions.db"), "CREATE TABLE contacts (name TEXT)", "INSERT INTO contacts VALUES ('ada')")
		}, ErrNotDatabase, "choose another file"},
		{"OtherProgramWithLog", func(t *testing.T, dir string) {
			statements(t, filepath.Join(dir, "sessions.db"), "PRAGMA journal_mode = WAL", "CREATE TABLE contacts (name TEXT)")
		}, ErrNotDatabase, "choose another file"},
		{"OtherGoose", func(t *testing.T, dir string) {
			statements(t, filepath.Join(dir, "sessions.db"), "CREATE TABLE goose_db_version (version_id INTEGER)", "INSERT INTO goose_db_version VALUES (1)")
		}, ErrNotDatabase, "choose another file"},
		{"NewerSchema", func(t *testing.T, dir string) {
			filled(t, filepath.Join(dir, "sessions.db"), 3)
			statements(t, filepath.Join(dir, "sessions.db"), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		}, ErrNewer, "use a newer program"},
		{"Directory", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "sessions.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "is a directory: name a file in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			path := filepath.Join(dir, "sessions.db")
			before := contents(t, dir)
			wantRefusal(t, path, c.is, c.says)
			sameContents(t, dir, before)
		})
	}
	t.Run("BelowAFile", func(t *testing.T) {
		dir := t.TempDir()
		write("file", text)(t, dir)
		before := contents(t, dir)
		wantRefusal(t, filepath.Join(dir, "file", "sessions.db"), syscall.ENOTDIR, "not a directory")
		sameContents(t, dir, before)
	})
}

// wantRefusal checks that Open fails with the error is, and that its text names
// the file and contains says.
func wantRefusal(t testing.TB, path string, is error, says string) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err == nil {
		closeStore(t, s)
		t.Fatal("it was opened")
	}
	if is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %q, want one that is %v, names %s and says %q", err, is, path, says)
	}
	for _, other := range []error{ErrInUse, ErrNotDatabase, ErrNewer, ErrCorrupt} {
		if errors.Is(err, other) && !errors.Is(is, other) {
			t.Errorf("error %q is %v", err, other)
		}
	}
}

// TestEmptyFile: Open accepts an empty file, as SQLite does. Somebody may have
// created it to set its owner.
func TestEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	filled(t, path, 1)
	if err := Check(t.Context(), path, nil); err != nil {
		t.Error(err)
	}
}

func init() { children["hold"] = holdOpen }

// holdOpen keeps a store open until its input ends.
func holdOpen(args []string) error {
	s, err := Open(context.Background(), args[0], Options{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Close()
}

func TestSecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	filled(t, path, 3)
	cmd := child(t.Context(), nil, "hold", path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("%q, %v", line, err)
	}
	before := contents(t, filepath.Dir(path))
	for range 2 { // a refused process must not break the lock
		wantRefusal(t, path, ErrInUse, fmt.Sprintf("process %d (%s hold)", cmd.Process.Pid, filepath.Base(os.Args[0])))
	}
	sameContents(t, filepath.Dir(path), before)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), link, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("by another name: %v", err)
	}

	// However the first process ends, the next one can open the store.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) {
		t.Fatal(err)
	}
	s := openAt(t, path)
	if err := stateOf(s, withRevision(session(1, "subject 1", present))); err != nil {
		t.Error(err)
	}

	// A second Open in the same process is refused too, and doesn't affect the
	// first.
	wantRefusal(t, path, ErrInUse, fmt.Sprintf("process %d (", os.Getpid()))
	create(t, s, session(7, "ada", present))
	closeStore(t, s)
	closeStore(t, openAt(t, path))
}

// damage overwrites a part of a file.
func damage(t testing.TB, path string, at, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("x", int(size))), at); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedPage: sessions on other pages can be read. For a session on the
// damaged page the error says what to do; it is never reported as missing.
func TestDamagedPage(t *testing.T) {
	const n = 2000
	path := filepath.Join(t.TempDir(), "sessions.db")
	filled(t, path, n)
	c, err := connect(t.Context(), dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	// A leaf of the table, near its middle.
	page, err := c.integer("SELECT pageno FROM dbstat WHERE name = 'sessions' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 20")
	if err != nil || page == 0 {
		t.Fatalf("page %d, %v", page, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, path, (page-1)*pageBytes, 100)

	if err := Check(t.Context(), path, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "sojournd restore") || !strings.Contains(err.Error(), path) {
		t.Errorf("Check: %v", err)
	}
	s := openAt(t, path)
	good, bad := 0, 0
	var rec store.Record
	for i := range n {
		want := withRevision(session(i, fmt.Sprint("subject ", i%50), present))
		switch err := s.Get(t.Context(), "shop", want.ID, true, &rec); {
		case err == nil && rec.Equal(want):
			good++
		case errors.Is(err, ErrCorrupt):
			if bad++; bad == 1 && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "sojournd check")) {
				t.Errorf("the error doesn't say what to do: %v", err)
			}
		default:
			t.Fatalf("session %d: %v", i, err)
		}
	}
	if bad == 0 || bad > 100 || good+bad != n {
		t.Errorf("%d sessions were read, %d were damaged", good, bad)
	}
	// New sessions go to other pages.
	create(t, s, session(n+1, "ada", present))
	closeStore(t, s)

}

func TestTruncatedFile(t *testing.T) {
	for _, cut := range []int64{1, pageBytes, 20 * pageBytes} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			filled(t, path, 500)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()-cut); err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), path, nil); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Check: %v", err)
			}
			before := contents(t, filepath.Dir(path))
			s, err := Open(t.Context(), path, Options{})
			if err == nil && cut < pageBytes {
				closeStore(t, s) // SQLite fills up the last page
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "sojournd restore") {
				t.Errorf("Open: %v", err)
			}
			sameContents(t, filepath.Dir(path), before)
		})
	}
}

// TestLogOfAnother: SQLite doesn't know whose log lies beside a file. With
// another file's log, the store becomes another one or damaged. That must be an
// error, and a check must find it.
func TestLogOfAnother(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	filled(t, a, 800)
	filled(t, b, 300)
	s := openAt(t, b)
	for i := range 100 {
		rec := session(10*i+5000, "ada", present)
		rec.Values = rec.Values.AppendSet(nil, "pad", []byte(strconv.Quote(strings.Repeat("x", 300))))
		create(t, s, rec)
	}
	log, err := os.ReadFile(b + "-wal")
	if err != nil || len(log) == 0 {
		t.Fatalf("%d bytes, %v", len(log), err)
	}
	closeStore(t, s)
	if err := os.WriteFile(a+"-wal", log, 0o600); err != nil {
		t.Fatal(err)
	}
	checked := Check(t.Context(), a, nil)
	if checked != nil && !errors.Is(checked, ErrCorrupt) {
		t.Errorf("Check: %v", checked)
	}
	s, err = Open(t.Context(), a, Options{})
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
		return
	}
	defer closeStore(t, s)
	var rec store.Record
	for i := range 800 {
		id := session(i, "", present).ID
		switch err := s.Get(t.Context(), "shop", id, true, &rec); {
		case errors.Is(err, ErrCorrupt) && checked == nil:
			t.Errorf("the check has not found that session %d can't be read: %v", i, err)
		case err == nil && rec.ID != id, err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, store.ErrNotFound):
			t.Errorf("session %d: %v, %v", i, rec.ID, err)
		}
	}
	t.Logf("Check: %v", checked)
}

// TestInspection: the sqlite3 program reads the file while a process writes to
// it.
func TestInspection(t *testing.T) {
	needs(t, "sqlite3")
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := openAt(t, path)
	rec := session(1, "ada", present)
	rec.Values = store.Values(nil).AppendSet(nil, "cart", []byte(`{"sku":1}`))
	create(t, s, rec)
	got := inspect(t, path, `SELECT app, id, subject, state, created_at, "values" FROM session_list WHERE subject = 'ada'`)
	want := fmt.Sprintf(`shop|%v|ada|live|%s|{"cart":{"sku":1}}`, rec.ID, rec.CreatedAt.Time().Format("2006-01-02T15:04:05.000Z"))
	if got != want {
		t.Errorf("sqlite3 shows\n%s\nwant\n%s", got, want)
	}
	create(t, s, session(2, "bob", present)) // the writer continues
}
