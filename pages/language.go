package pages

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed lang/*.json
var languageFiles embed.FS

// fallback is the language for visitors who ask only for languages without texts,
// and for texts that an application's own language lacks.
const fallback = "en"

// ownTexts returns the texts that come with the package, by language and name.
func ownTexts() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, language := range []string{"de", "en", "fr"} {
		content, err := languageFiles.ReadFile("lang/" + language + ".json")
		if err != nil {
			panic(err)
		}
		texts := map[string]string{}
		if err := json.Unmarshal(content, &texts); err != nil {
			panic(fmt.Sprintf("pages: lang/%s.json: %v", language, err))
		}
		all[language] = texts
	}
	return all
}

// mergeTexts returns the package's texts with those of the application.
func mergeTexts(own map[string]map[string]string) (map[string]map[string]string, error) {
	all := ownTexts()
	for language, texts := range own {
		language = strings.ToLower(language)
		if !validTag(language) {
			return nil, fmt.Errorf("pages: Texts: %q is no language: use a tag like de or pt-br", language)
		}
		merged := maps.Clone(all[fallback])
		maps.Copy(merged, all[language])
		for name, text := range texts {
			usual, ok := all[fallback][name]
			if !ok {
				return nil, fmt.Errorf("pages: Texts: there is no text %q: see pages/lang/en.json in Sojourn's sources for all names", name)
			}
			if verbs(text) != verbs(usual) {
				return nil, fmt.Errorf("pages: Texts: %s: %q must have the placeholders of %q", name, text, usual)
			}
			merged[name] = text
		}
		if len(strings.Fields(merged["time.months"])) != 12 {
			return nil, fmt.Errorf("pages: Texts: time.months of %q must have 12 words", language)
		}
		all[language] = merged
	}
	return all, nil
}

// verbs returns the placeholders of a format, in order.
func verbs(format string) string {
	var found []string
	for rest := format; ; {
		at := strings.IndexByte(rest, '%')
		if at < 0 {
			break
		}
		rest = rest[at+1:]
		end := strings.IndexAny(rest, "ds%")
		if end < 0 {
			return "?"
		}
		found = append(found, rest[:end+1])
		rest = rest[end+1:]
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

// maxTag is how many bytes a language tag may have: those that RFC 5646, section
// 4.4.1, recommends to accept. A longer one would cost a lookup for each hyphen.
const maxTag = 35

// validTag reports whether a language tag is one for the attribute lang, in
// lower case.
func validTag(tag string) bool {
	return len(tag) >= 2 && len(tag) <= maxTag && strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && tag[0] != '-'
}

// maxLanguages is how many languages of Accept-Language are looked at.
const maxLanguages = 50

// accepted chooses a language by the header Accept-Language (RFC 9110, section
// 12.5.4). It returns the fallback if no language that the visitor asks for has
// texts.
func accepted(header []string, there map[string]map[string]string) string {
	best, bestQ := fallback, 0.0
	for i, item := range strings.SplitN(strings.Join(header, ","), ",", maxLanguages+1) {
		if i == maxLanguages {
			break
		}
		tag, parameters, _ := strings.Cut(item, ";")
		q, ok := quality(parameters)
		if !ok || q <= bestQ {
			continue
		}
		if tag = strings.TrimSpace(tag); tag == "*" {
			tag = fallback
		}
		if found := lookup(tag, there); found != "" {
			best, bestQ = found, q
		}
	}
	return best
}

// lookup returns the language with texts that fits a tag best: de for de-AT (RFC
// 4647, section 3.4). It returns "" if there is none, or if the tag is longer than
// maxTag.
func lookup(tag string, there map[string]map[string]string) string {
	if len(tag) > maxTag {
		return ""
	}
	for tag = strings.ToLower(tag); tag != ""; {
		if there[tag] != nil {
			return tag
		}
		tag = tag[:max(strings.LastIndexByte(tag, '-'), 0)]
	}
	return ""
}

// quality reads the weight of an item (RFC 9110, section 12.4.2): 0 to 1, and 1
// if there is none.
func quality(parameters string) (q float64, ok bool) {
	name, value, found := strings.Cut(strings.TrimSpace(parameters), "=")
	if !found {
		return 1, strings.TrimSpace(parameters) == ""
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return q, err == nil && strings.EqualFold(strings.TrimSpace(name), "q") && q >= 0 && q <= 1
}

// A speaker writes texts of one language.
type speaker struct {
	Lang  string
	texts map[string]string
}

// T returns a text.
func (s speaker) T(name string, args ...any) string {
	if len(args) == 0 {
		return s.texts[name]
	}
	return fmt.Sprintf(s.texts[name], args...)
}

// N is T for a number of things.
func (s speaker) N(name string, n int) string {
	if n == 1 || n == 0 && s.Lang == "fr" {
		return s.T(name+".one", n)
	}
	return s.T(name+".other", n)
}

// Ago writes how long ago a time was, or the date if that is more than a month.
func (s speaker) Ago(t, now time.Time) string {
	const day = 24 * time.Hour
	switch d := now.Sub(t); {
	case d < time.Minute:
		return s.T("time.now")
	case d < time.Hour:
		return s.N("time.minutes", int(d/time.Minute))
	case d < day:
		return s.N("time.hours", int(d/time.Hour))
	case d < 30*day:
		return s.N("time.days", int(d/day))
	}
	t = t.UTC()
	return s.T("time.date", t.Day(), strings.Fields(s.T("time.months"))[t.Month()-1], t.Year())
}
