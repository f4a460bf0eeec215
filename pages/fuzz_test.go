package pages

import (
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What comes from browsers never panics, and what is made of it keeps its form.
func FuzzBrowsers(f *testing.F) {
	for _, seed := range []string{
		"", "de-AT, fr;q=0.5", "de;q=NaN", "*;q=0", "text/html, application/json;q=0.5", "30.1.01a2295b-e12a-72a1-895c-6d63427bdb24", "..",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "\u202ebot\xff", strings.Repeat("W ", 200),
	} {
		f.Add(seed)
	}
	there := ownTexts()
	f.Fuzz(func(t *testing.T, text string) {
		if language := accepted([]string{text}, there); there[language] == nil {
			t.Errorf("%q: there is no language %q", text, language)
		}
		wantsJSON(http.Header{"Accept": {text}})
		if c, err := parseCursor(text); err == nil && text != "" && c.String() != text {
			t.Errorf("the cursor %q is read as %v", text, c)
		}
		kindOf(text)
		for _, name := range []string{cleanName(text), cleanName(deviceName(text))} {
			bad := func(c rune) bool { return !unicode.IsPrint(c) }
			if utf8.RuneCountInString(name) > maxName+1 || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
				t.Errorf("%q has the name %q", text, name)
			}
		}
	})
}
