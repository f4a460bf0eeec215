package dbsc_test

import (
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/dbsc"
)

// The exact header fields and bodies, as the draft has them.
func TestWire(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{dbsc.Registration("/session/bound/register", "cv_-0"), `(ES256 RS256);path="/session/bound/register";challenge="cv_-0"`},
		{dbsc.Registration(`/a"b\c`, "cv"), `(ES256 RS256);path="/a\"b\\c";challenge="cv"`},
		{dbsc.Challenge("cv", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), `"cv";id="0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`},
		{
			string((&dbsc.Instructions{Session: "sid", RefreshURL: "/b/refresh", Cookie: "__Host-p", Attributes: "Path=/; Secure", Links: true}).JSON()),
			`{"session_identifier":"sid","refresh_url":"/b/refresh","scope":{"include_site":false},` +
				`"credentials":[{"type":"cookie","name":"__Host-p","attributes":"Path=/; Secure"}],"allowed_refresh_initiators":["*"]}`,
		},
		{
			string((&dbsc.Instructions{Session: "sid", RefreshURL: "/r", Cookie: "p", Site: "https://example.com"}).JSON()),
			`{"session_identifier":"sid","refresh_url":"/r","scope":{"origin":"https://example.com","include_site":true},` +
				`"credentials":[{"type":"cookie","name":"p","attributes":""}]}`,
		},
		{string(dbsc.WellKnown([]string{"https://a.example.com", "https://b.example.com:8443"})), `{"registering_origins":["https://a.example.com","https://b.example.com:8443"]}`},
	} {
		if test.got != test.want {
			t.Errorf("got  %s\nwant %s", test.got, test.want)
		}
	}
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		line, want string
		ok         bool
	}{
		{`"abc"`, "abc", true},
		{`abc`, "abc", true}, // as Chromium sends it
		{`0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b`, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", true},
		{`eyJ-_.eyJ.sig`, "eyJ-_.eyJ.sig", true},
		{` "abc" `, "abc", true},
		{`"abc";v=1;w="x;y"`, "abc", true}, // parameters are ignored
		{`abc;v`, "abc", true},
		{`"a\"b\\c"`, `a"b\c`, true},
		{``, "", false},
		{`""`, "", false},
		{`"abc`, "", false},
		{`"abc"x`, "", false},
		{`"a\bc"`, "", false},
		{`"abc\`, "", false},
		{"\"a\x01c\"", "", false},
		{"\"ä\"", "", false},
		{`abc def`, "", false},
		{`abc,def`, "", false},
		{`"abc", "def"`, "", false},
		{`:YWJj:`, "", false},
		{`(abc)`, "", false},
		{`;v=1`, "", false},
	} {
		if got, ok := dbsc.Text([]string{test.line}); ok != test.ok || ok && got != test.want {
			t.Errorf("%q: got %q, %v", test.line, got, ok)
		}
	}
	if _, ok := dbsc.Text(nil); ok {
		t.Error("no line")
	}
	if _, ok := dbsc.Text([]string{"abc", "abc"}); ok {
		t.Error("two lines")
	}
	if _, ok := dbsc.Text([]string{strings.Repeat("a", 16<<10)}); !ok {
		t.Error("16 KiB are too long")
	}
	if _, ok := dbsc.Text([]string{strings.Repeat("a", 16<<10+1)}); ok {
		t.Error("more than 16 KiB")
	}
}

// FuzzFields checks that no header field makes the readers panic or hang, and
// that what is read can be written again.
func FuzzFields(f *testing.F) {
	f.Add(`"abc";id="def"`)
	f.Add(`unreachable;session_identifier="s1", x;y=z`)
	f.Add("a\\\"b,c;d=e")
	f.Fuzz(func(t *testing.T, line string) {
		text, ok := dbsc.Text([]string{line})
		if !ok {
			return
		}
		written := strings.TrimSuffix(dbsc.Challenge(text, "x"), `;id="x"`)
		if again, ok := dbsc.Text([]string{written}); !ok || again != text {
			t.Errorf("%q was read as %q and then as %q", line, text, again)
		}
	})
}
