package sojourn_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// Row 1: tokens are random. Among 10,000 tokens no secret occurs twice. No bit
// of a secret, or of an ID's random part, is constant.
func TestTokensAreRandom(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.OnEvent = nil }))
	const n = 10_000
	secrets, halves := map[string]bool{}, map[string]bool{}
	var ones [48 * 8]int
	for range n {
		raw, err := base64.RawURLEncoding.DecodeString(w.loggedIn("alice").session)
		if err != nil || len(raw) != 48 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		secrets[string(raw[16:])] = true
		halves[string(raw[16:32])] = true
		halves[string(raw[32:])] = true
		for i := range ones {
			ones[i] += int(raw[i/8] >> (i % 8) & 1)
		}
	}
	if len(secrets) != n || len(halves) != 2*n {
		t.Errorf("%d different secrets, %d halves", len(secrets), len(halves))
	}
	for i := 16 * 8; i < len(ones); i++ {
		if ones[i] < n*45/100 || ones[i] > n*55/100 { // ten standard deviations
			t.Errorf("bit %d of the secret is set in %d of %d", i-16*8, ones[i], n)
		}
	}
}

// Row 2: a token says nothing about the user. Two tokens of one user have no
// more in common than two of different users: the time in the ID.
func TestTokenSaysNothing(t *testing.T) {
	w := newWorld(t)
	var tokens [][]byte
	for _, subject := range []string{"alice", "alice", "bob"} {
		text := w.loggedIn(subject).session
		raw, _ := base64.RawURLEncoding.DecodeString(text)
		tokens = append(tokens, raw)
		for _, spelling := range []string{subject, hex.EncodeToString([]byte(subject)), base64.RawURLEncoding.EncodeToString([]byte(subject))} {
			if strings.Contains(text, spelling) || strings.Contains(string(raw), spelling) {
				t.Errorf("%q is in the token", spelling)
			}
		}
	}
	same := func(a, b []byte) (n int) {
		for i := 6; i < 48; i++ {
			if a[i] == b[i] {
				n++
			}
		}
		return n
	}
	if n := same(tokens[0], tokens[1]); n > 6 { // of 42 bytes; about 0.2 would match by chance
		t.Errorf("tokens of one user share %d bytes beyond the time", n)
	}
	if n := same(tokens[0], tokens[2]); n > 6 {
		t.Errorf("tokens share %d bytes beyond the time", n)
	}
}

// Row 3: a token counts only in its cookie or header. It doesn't count in the
// URL, a form, another header, a trailer or Basic credentials.
func TestTokenFromNowhereElse(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			r.ParseForm()
			io.WriteString(rw, who(s))
		}, options(func(o *sojourn.Options) { o.Bearer = bearer }))
		token := w.surfer().login("alice").cookies["__Host-session"]
		for _, name := range []string{"token", "session", "__Host-session", "access_token", "jsessionid", "sid"} {
			w.want("query "+name, w.surfer().get("/?"+name+"="+token).body, "nobody")
			w.want("path "+name, w.surfer().get("/;"+name+"="+token+"/"+token).body, "nobody")
			w.want("form "+name, w.surfer().do("POST", "/", name+"="+token, "Content-Type", "application/x-www-form-urlencoded").body, "nobody")
		}
		for _, name := range []string{"Authorization", "X-Session", "X-Auth-Token", "Session", "Cookie2", "Set-Cookie", "Proxy-Authorization"} {
			for _, value := range []string{token, "Bearer " + token, "__Host-session=" + token, "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+token))} {
				w.want(name+": "+value[:8], w.surfer(name, value).get("/").body, "nobody")
			}
		}
		w.want("the cookie", w.surfer("Cookie", "__Host-session="+token).get("/").body, "alice")
	}
}

// Row 4: what a store holds does not authenticate. The engine refuses each byte
// string of the record as a secret and as a token.
func TestStoredHashesAreNoTokens(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	j := w.loggedIn("alice")
	w.pass(20 * time.Minute)
	w.look(j)
	w.pass(2 * time.Minute)
	w.look(j) // rotated
	id := w.id(j)
	rec := w.record(id)
	stored := [][]byte{rec.Secret.Hash[:], rec.EpochHash[:], slices.Concat(rec.EpochHash[:16], rec.Secret.Hash[:16]), slices.Concat(rec.EpochHash[16:], rec.Secret.Hash[16:])}
	for _, g := range rec.Good {
		stored = append(stored, g.Hash[:], slices.Concat(rec.EpochHash[:16], g.Hash[:16]))
	}
	if len(rec.Good) == 0 {
		t.Error("the record has no former secret")
	}
	for _, b := range stored {
		token := base64.RawURLEncoding.EncodeToString(append(slices.Clone(id[:]), b...))
		w.want("a hash as secret", w.look(&jar{session: token}), "")
		w.want("a hash as token", w.look(&jar{session: hex.EncodeToString(b)}), "")
	}
	w.want("the session", w.look(j), "alice")
}

// Row 5: the engine doesn't adopt an unknown token that is well formed. The
// first write creates a session with another ID and secret.
func TestUnknownTokenIsNotAdopted(t *testing.T) {
	w := newWeb(t, nil)
	for _, cookie := range []string{"__Host-session", "__Host-visitor"} {
		chosen := "AZypRQoAdKiUXWGYSAyKfZyhL3gZJlXWsuaDcFlJlzJwp6PEhVfkMuCHM4zKkuB_"
		b := w.surfer()
		b.cookies[cookie] = chosen
		c := b.post("/count").setting(t)
		if c.Value == chosen || c.Value[:22] == chosen[:22] || c.Value[22:] == chosen[22:] {
			t.Errorf("%s: adopted: %s", cookie, c.Value)
		}
		c = b.post("/login?user=alice").setting(t)
		if c.Value == chosen || c.Value[:22] == chosen[:22] || c.Value[22:] == chosen[22:] {
			t.Errorf("%s: adopted at login: %s", cookie, c.Value)
		}
	}
	for _, e := range w.happened(sojourn.EventRefused) {
		w.want("refusal", e.Refusal, sojourn.RefusedUnknown)
	}
}

// Row 10: after an account was disabled, none of its requests has a session.
func TestDisabledAccount(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if s.Subject() == "" {
			http.Error(rw, "sign in", http.StatusUnauthorized)
		}
	})
	var browsers []*surfer
	for range 5 {
		browsers = append(browsers, w.surfer().login("alice"))
	}
	bob := w.surfer().login("bob")
	if n, err := w.EndSubject(t.Context(), "alice", sojourn.ID{}); n != 5 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	for _, b := range browsers {
		b.get("/").wantStatus(t, http.StatusUnauthorized)
		w.want("reason", b.get("/ended").body, "revoked")
	}
	bob.get("/").wantStatus(t, http.StatusOK)
}

// Rows 11 and 8: a change of factor ends the user's other sessions. The current
// session gets a new token, and the old one stops working at once.
func TestFactorChange(t *testing.T) {
	w := newWeb(t, nil)
	w.server.Config.Handler = w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		if r.Method == "GET" {
			webRoutes(nil).ServeHTTP(rw, r)
			return
		}
		if r.URL.Path != "/password" {
			webRoutes(nil).ServeHTTP(rw, r)
			return
		}
		if err := s.Elevate(s.Level()); err != nil {
			t.Error(err)
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		if _, err := w.EndSubject(r.Context(), s.Subject(), s.ID()); err != nil {
			t.Error(err)
		}
	}))
	here, there := w.surfer().login("alice"), w.surfer().login("alice")
	thief := here.fork()
	here.post("/count")
	old := here.cookies["__Host-session"]
	here.post("/password").wantStatus(t, 200)
	if here.cookies["__Host-session"] == old {
		t.Error("the token is the old one")
	}
	w.want("here", here.who(), "alice")
	w.want("its values", here.get("/count").body, "1")
	w.want("there", there.who(), "nobody")
	w.want("the old token", thief.who(), "nobody")
	w.want("here, later", here.who(), "alice")
}

// Row 12: users list and end their own sessions. A list contains no token. The
// error for another user's ID is the same as for an unknown ID.
func TestOwnSessions(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.loggedIn("alice"), w.loggedIn("alice"), w.loggedIn("bob")
	list, next, err := w.List(t.Context(), "alice", "", 100)
	if err != nil || next != "" || len(list) != 2 {
		t.Fatalf("%d sessions, %q, %v", len(list), next, err)
	}
	ids := []sojourn.ID{w.id(a), w.id(b)}
	for _, info := range list {
		if !slices.Contains(ids, info.ID) || info.Subject != "alice" {
			t.Errorf("%+v", info)
		}
	}
	foreign := w.EndOwn(t.Context(), "alice", w.id(other))
	missing := w.EndOwn(t.Context(), "alice", sojourn.ID{1})
	if !errors.Is(foreign, sojourn.ErrNotFound) || !errors.Is(missing, sojourn.ErrNotFound) || foreign.Error() != missing.Error() {
		t.Errorf("foreign: %v; missing: %v", foreign, missing)
	}
	if err := w.EndOwn(t.Context(), "", w.id(other)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("EndOwn without a subject: %v", err)
	}
	visitor := new(jar)
	w.visit(visitor, func(s *sojourn.Session) error { return count.Set(s, 1) })
	if err := w.EndOwn(t.Context(), "", w.id(visitor)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("a visitor's, by nobody: %v", err)
	}
	w.want("bob", w.look(other), "bob")
	if err := w.EndOwn(t.Context(), "alice", w.id(b)); err != nil {
		t.Error(err)
	}
	w.want("the ended one", w.look(b), "")
	w.want("the other one", w.look(a), "alice")
}

// Row 18: only an authentication changes the level and the methods of a login,
// and each one is an event.
func TestLevelNeedsAnAuthentication(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("alice", sojourn.AMR("pwd"))
	level := func() int { return w.begin(j).Level() }
	w.want("after login", level(), 1)
	w.visit(j, func(s *sojourn.Session) error { return sojourn.NewKey[int]("level").Set(s, 3) })
	w.visit(j, func(s *sojourn.Session) error { return s.Rotate() })
	w.pass(time.Hour)
	w.look(j) // rotates the secret
	w.want("after values, rotations and time", level(), 1)
	w.want("elevations", len(w.happened(sojourn.EventElevated)), 0)
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	w.want("after Elevate", level(), 2)
	elevated := w.happened(sojourn.EventElevated)
	if len(elevated) != 1 || elevated[0].Level != 2 || strings.Join(elevated[0].AMR, " ") != "pwd otp" {
		t.Errorf("%+v", elevated)
	}
	w.login(j, "alice", sojourn.AMR("pwd"))
	w.want("after another login, which had one factor", level(), 1)
	for _, level := range []int{-1, 4, 255, 257} {
		s := w.begin(j)
		if err := s.Elevate(level); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("level %d: %v", level, err)
		}
	}
}

// Row 19: a sensitive action can demand a fresh authentication.
func TestFresh(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	fresh := func(d time.Duration) bool { return w.begin(j).Fresh(d) }
	w.want("anonymous", fresh(time.Hour), false)
	w.login(j, "alice")
	w.want("just now", fresh(10*time.Minute), true)
	w.pass(10 * time.Minute)
	w.want("ten minutes ago", fresh(10*time.Minute), true)
	w.pass(time.Millisecond)
	w.want("a little more", fresh(10*time.Minute), false)
	w.visit(j, func(s *sojourn.Session) error { return s.Rotate() })
	w.want("after a rotation", fresh(10*time.Minute), false)
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	w.want("after activity", fresh(10*time.Minute), false)
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	w.want("after a second factor", fresh(10*time.Minute), true)
	w.pass(-time.Hour)
	w.want("with a clock that went back", fresh(10*time.Minute), true)
}

// Row 27: nothing from before the login grants a login: neither the visitor's
// values nor calls in the wrong order.
func TestBeforeLoginDataGrantsNothing(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error {
		for _, key := range []string{"subject", "user", "level", "amr", "authenticated"} {
			if err := sojourn.NewKey[string](key).Set(s, "admin"); err != nil {
				return err
			}
		}
		return nil
	})
	s := w.begin(j)
	if err := s.Elevate(2, "otp"); !errors.Is(err, sojourn.ErrAnonymous) {
		t.Errorf("second factor before the first: %v", err)
	}
	w.answer(j, s)
	w.visit(j, (*sojourn.Session).Rotate)
	s = w.begin(j)
	if s.Subject() != "" || s.Level() != 0 || s.Fresh(time.Hour) || len(s.Info().AMR) != 0 {
		t.Errorf("%+v", s.Info())
	}
	// A visitor's token in the session cookie is invalid.
	w.want("as session cookie", w.id(&jar{session: j.visitor}), sojourn.ID{})
	w.want("login events", len(w.happened(sojourn.EventAuthenticated))+len(w.happened(sojourn.EventElevated)), 0)
}

// Row 32: secrets and their hashes are compared in constant time. The functions
// that judge a secret use == on neither.
func TestSecretsCompareInConstantTime(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "secrets.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != "judge" && f.Name.Name != "knewEnd" && f.Name.Name != "same" {
			continue
		}
		found++
		ast.Inspect(f, func(n ast.Node) bool {
			b, ok := n.(*ast.BinaryExpr)
			if !ok || b.Op != token.EQL && b.Op != token.NEQ {
				return true
			}
			for _, side := range []ast.Expr{b.X, b.Y} {
				if s, ok := side.(*ast.SelectorExpr); ok && (s.Sel.Name == "Hash" || s.Sel.Name == "EpochHash") {
					t.Errorf("%s: %s is compared with %s", fset.Position(b.Pos()), s.Sel.Name, b.Op)
				}
				if i, ok := side.(*ast.Ident); ok && (i.Name == "hash" || i.Name == "half" || i.Name == "s") {
					t.Errorf("%s: %s is compared with %s", fset.Position(b.Pos()), i.Name, b.Op)
				}
			}
			return true
		})
	}
	source, err := os.ReadFile("secrets.go")
	if err != nil {
		t.Fatal(err)
	}
	if found != 3 || !strings.Contains(string(source), "subtle.ConstantTimeCompare(a, b) == 1") {
		t.Errorf("found %d of judge, knewEnd and same", found)
	}
}

// docs/security.md says what late answers cost. If the answer to a logout or
// rotation comes after the answer to a later login, the user must sign in once
// more. Nothing else happens.
func TestLateAnswersCostOneSignIn(t *testing.T) {
	for _, late := range []string{"logout", "regenerate", "rotation"} {
		t.Run(late, func(t *testing.T) {
			w := newWeb(t, func(_ http.ResponseWriter, _ *http.Request, s *sojourn.Session) { s.Regenerate() })
			b := w.surfer().login("alice")
			b.post("/count")
			w.pass(20 * time.Minute)
			var answer *reply
			if late == "rotation" {
				answer = b.fork().get("/who")
			} else {
				answer = b.fork().post("/" + late)
			}
			if len(answer.cookies) == 0 {
				t.Fatal("the response has no Set-Cookie")
			}
			w.pass(time.Second)
			b.login("alice")
			w.want("before the late answer", b.who(), "alice")
			b.keep(answer)
			w.want("after it", b.who(), "nobody")
			w.want("a write", b.post("/count").StatusCode < 500, true)
			w.pass(time.Second)
			b.login("alice")
			w.want("after one new sign-in", b.who(), "alice")
			if late == "rotation" {
				w.want("count of the same session", b.get("/count").body, "1")
			}
			for _, e := range w.happened(sojourn.EventEnded) {
				if e.Reason == sojourn.ReasonTheft {
					t.Error("the engine reports theft")
				}
			}
		})
	}
}

// docs/security.md has each row of the checklist, and each test that it names
// exists.
func TestSecurityTable(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	storetest := regexp.MustCompile(`^\s*\{"([A-Z]\w*(?:/\w+)?)", func\(`)
	declared := regexp.MustCompile(`^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		inStoretest := strings.HasPrefix(filepath.ToSlash(path), "store/storetest/")
		if !inStoretest && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for line := range strings.Lines(string(source)) {
			if m := declared.FindStringSubmatch(line); m != nil {
				have[m[1]] = true
			}
			if m := storetest.FindStringSubmatch(line); m != nil && inStoretest {
				have["storetest: "+m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	row := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(cells[1])); err != nil {
			continue
		} else if row++; n != row {
			t.Errorf("row %d follows row %d", n, row-1)
		}
		if proof := cells[len(cells)-2]; !strings.Contains(proof, "`") {
			t.Errorf("row %d names no test: %s", row, proof)
		}
	}
	if row != 42 {
		t.Errorf("%d rows, the checklist has 42", row)
	}
	names := regexp.MustCompile("`((?:storetest: [A-Z][\\w/]*)|(?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 50 {
		t.Errorf("%d names of tests", len(names))
	}
	for _, m := range names {
		if !have[m[1]] {
			t.Errorf("docs/security.md names %s, which doesn't exist", m[1])
		}
	}
}
