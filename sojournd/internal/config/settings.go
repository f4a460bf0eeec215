package config

import (
	"reflect"
	"slices"
	"strings"
)

// A setting is one that variables and flags can give, too.
type setting struct {
	path string
	list bool
}

// variable returns the name of the environment variable.
func (s setting) variable() string {
	return "SOJOURN_" + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

// settings returns all settings outside of lists of mappings.
func settings() (list []setting) {
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		switch {
		case isText(t), t.Kind() != reflect.Struct && t.Kind() != reflect.Slice:
			list = append(list, setting{path: path})
		case t.Kind() == reflect.Slice && (isText(t.Elem()) || t.Elem().Kind() != reflect.Struct):
			list = append(list, setting{path, true})
		case t.Kind() == reflect.Struct:
			for _, f := range fields(t) {
				walk(f.Type, join(path, f.Tag.Get("yaml")))
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return list
}

// fields returns the fields of a struct that are settings, including those of
// embedded structs.
func fields(t reflect.Type) (list []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("yaml") != "" {
			list = append(list, f)
		}
	}
	return list
}

// FlagsOf returns the flags in a struct that are not empty. The tag yaml names
// the setting of each.
func FlagsOf(flags any) Flags {
	set := Flags{}
	v := reflect.ValueOf(flags)
	for _, f := range fields(v.Type()) {
		if value := v.FieldByIndex(f.Index).String(); value != "" {
			set[f.Tag.Get("yaml")] = value
		}
	}
	return set
}

// Unknown returns the variables that begin with SOJOURN_ but are neither
// settings nor among the others.
func (env Environment) Unknown(others ...string) (unknown []string) {
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "SOJOURN_") && !slices.Contains(others, name) && !slices.Contains(variables(), name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

func variables() (names []string) {
	for _, s := range settings() {
		names = append(names, s.variable())
	}
	return names
}

// MeantVariable says what to write instead of an unknown variable.
func MeantVariable(name string) string {
	if best := closest(name, variables()); best != "" {
		return "write " + best
	}
	return "sojournd config example prints all settings: log.level is SOJOURN_LOG_LEVEL"
}

// meant says what to write instead of an unknown path.
func meant(path string) string {
	var known, below []string
	for _, s := range settings() {
		known = append(known, s.path)
		if strings.HasPrefix(s.path, path+".") {
			below = append(below, s.path)
		}
	}
	for _, list := range []string{"applications", "events.webhooks", "console.operators"} {
		if strings.HasPrefix(path, list) {
			return "what is in " + list + " can be set in the file only"
		}
	}
	if len(below) > 0 {
		return "write one of " + strings.Join(below, ", ")
	}
	if best := closest(path, known); best != "" {
		return "write " + best
	}
	for _, k := range known { // the group was left out
		if strings.HasSuffix(k, "."+path) {
			return "write " + k
		}
	}
	return "sojournd config example prints all that there are"
}

// closest returns the known name that a mistyped one stands for, or "" if none
// is similar.
func closest(name string, known []string) (best string) {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	distance := 3
	for _, k := range known {
		if n := edits(fold(name), fold(k)); n < distance && n < len(k) {
			best, distance = k, n
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1, diagonal+1)
			if a[i] == b[j] {
				next = min(next, diagonal)
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
