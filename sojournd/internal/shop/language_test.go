package shop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
)

var verbs = regexp.MustCompile(`%(\[\d\])?[ds]`)

func TestLanguagesAreComplete(t *testing.T) {
	for lang, messages := range languages {
		for key, message := range messages {
			for other := range languages {
				translated, ok := languages[other][key]
				if !ok {
					t.Errorf("%s has no %q, which %s has", other, key, lang)
				} else if a, b := verbs.FindAllString(message, -1), verbs.FindAllString(translated, -1); !slices.Equal(a, b) {
					t.Errorf("%q takes %v in %s and %v in %s", key, a, lang, b, other)
				}
			}
			if message == "" {
				t.Errorf("%s: %q is empty", lang, key)
			}
		}
	}
}

func TestMessagesExist(t *testing.T) {
	used := map[string]string{}
	for pattern, uses := range map[string][]*regexp.Regexp{
		"*.go":             {regexp.MustCompile(`\.T\("([a-z_.]+[a-z])"`), regexp.MustCompile(`\.N\("([a-z_.]+)"`)},
		"templates/*.html": {regexp.MustCompile(`\.T "([a-z_.]+)"`), regexp.MustCompile(`\.N "([a-z_.]+)"`)},
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, use := range uses {
				for _, m := range use.FindAllStringSubmatch(string(content), -1) {
					used[m[1]+[]string{"", ".one"}[i]] = file
				}
			}
		}
	}
	for _, p := range catalogue {
		used["product."+p.SKU], used["product."+p.SKU+".text"] = "the catalogue", "the catalogue"
	}
	for _, c := range sessionCodes {
		used["error."+c.code] = "sessionCodes"
	}
	for _, p := range []*problem{
		errNotFound, errMethod, errBadForm, errFormTooLarge, errUnknownSKU, errBadQuantity, errQuantityLimit, errBadTheme, errBadLanguage,
		errNoPreference, errBadEmail, errBadPassword, errPasswordLong, errEmailTaken, errInvalidLogin, errWrongPassword, errTooManyTries, errLoginRequired,
		errFreshRequired, errBusy, errShopFull, errInternal, {code: errSessionDefault},
	} {
		used["error."+p.code] = "problem.go"
	}
	for _, reason := range []sojourn.Reason{
		sojourn.ReasonLogout, sojourn.ReasonRevoked, sojourn.ReasonIdle, sojourn.ReasonAbsolute, sojourn.ReasonEvicted, sojourn.ReasonTheft,
	} {
		used["ended."+string(reason)] = "the library"
	}
	if len(used) < 100 {
		t.Fatalf("only %d messages are used: does this test still find them?", len(used))
	}
	for key, where := range used {
		if languages["en"][key] == "" && !strings.HasSuffix(key, ".") {
			t.Errorf("%s uses %q, which isn't there", where, key)
		}
	}
}

func TestAcceptedLanguage(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "de": "de", "de-AT,de;q=0.9": "de", "fr,de;q=0.5,en;q=0.4": "de", "fr": "en", "en-GB,de": "en", "*": "en",
		"\x00": "en", strings.Repeat("de,", 1000): "en", "de;q=x": "en",
	} {
		got, unspoken := acceptedLanguage(header)
		if got != want || unspoken != (header == "fr") {
			t.Errorf("%.30q: %s, %v, want %s", header, got, unspoken, want)
		}
	}
}
