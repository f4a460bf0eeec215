package shop

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/language"
)

//go:embed lang/*.json
var languageFiles embed.FS

// languages are the shop's messages, by language and key. A message is a format
// for package fmt. A test checks that all languages have the same keys.
var languages = map[string]map[string]string{}

// languageOrder lists the languages. The first is the default.
var languageOrder = []string{"en", "de"}

var languageMatcher language.Matcher

func init() {
	var tags []language.Tag
	for _, lang := range languageOrder {
		content, err := languageFiles.ReadFile("lang/" + lang + ".json")
		if err != nil {
			panic(err)
		}
		var messages map[string]string
		if err := json.Unmarshal(content, &messages); err != nil {
			panic(fmt.Sprintf("shop: lang/%s.json: %v", lang, err))
		}
		languages[lang] = messages
		tags = append(tags, language.MustParse(lang))
	}
	languageMatcher = language.NewMatcher(tags)
}

// acceptedLanguage chooses a language by the browser's header. It also reports
// whether the header asks only for languages that the shop doesn't have.
func acceptedLanguage(header string) (lang string, unspoken bool) {
	if len(header) > 500 {
		return languageOrder[0], false
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return languageOrder[0], false
	}
	_, i, confidence := languageMatcher.Match(tags...)
	return languageOrder[i], confidence == language.No && !strings.Contains(header, "*")
}

// T returns the message of a key in the visitor's language.
func (v *visit) T(key string, args ...any) string {
	format, ok := languages[v.lang][key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// N is T for a number of things: key+".one" or key+".other".
func (v *visit) N(key string, n int) string {
	if n == 1 {
		return v.T(key+".one", n)
	}
	return v.T(key+".other", n)
}

// Money writes euro cents as the language does.
func (v *visit) Money(cents int) string {
	if v.lang == "de" {
		return fmt.Sprintf("%d,%02d\u00a0€", cents/100, cents%100)
	}
	return fmt.Sprintf("€%d.%02d", cents/100, cents%100)
}

// Ago writes how long ago a time was, or the date if that is more than a day.
func (v *visit) Ago(t time.Time) string {
	switch d := v.shop.Now().Sub(t); {
	case d < time.Minute:
		return v.T("time.now")
	case d < time.Hour:
		return v.N("time.minutes", int(d/time.Minute))
	case d < 24*time.Hour:
		return v.N("time.hours", int(d/time.Hour))
	}
	return t.UTC().Format(v.T("time.date"))
}

// ISO writes a time for programs.
func (v *visit) ISO(t time.Time) string { return t.UTC().Format(time.RFC3339) }
