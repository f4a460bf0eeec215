package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A decoder fills in a Config, and goes on after a mistake.
type decoder struct {
	src      *source
	problems []Problem
	wrong    map[string]bool // paths with a mistake, of which check says no more
}

// report notes a mistake in what is at a path, unless one was found there before.
func (d *decoder) report(path, format string, args ...any) {
	if !d.wrong[path] {
		d.note(path, false, fmt.Sprintf(format, args...))
	}
}

func (d *decoder) note(path string, ofKey bool, text string) {
	if d.wrong == nil {
		d.wrong = map[string]bool{}
	}
	d.wrong[path] = true
	d.problems = append(d.problems, d.src.problem(path, ofKey, text))
}

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d *decoder) decode(into reflect.Value, value any, path string) {
	if value == nil {
		return // a key without a value is as good as none
	}
	if v, ok := value.(scalar); ok && v.Tag == aliasTag {
		d.report(path, "aliases have no meaning here: write the value again")
		return
	}
	switch t := into.Type(); {
	case isText(t):
		d.text(into, value, path)
	case t.Kind() == reflect.Struct:
		d.mapping(into, value, path)
	case t.Kind() == reflect.Slice:
		d.list(into, value, path)
	case t.Kind() == reflect.String:
		v, ok := value.(scalar)
		if !ok || v.Tag != "" && v.Tag != "!!str" {
			d.report(path, "is %s: write a text, in quotes if it looks like something else", kindOf(value))
			return
		}
		into.SetString(v.Text)
	case t.Kind() == reflect.Bool:
		v, _ := value.(scalar)
		b, err := strconv.ParseBool(v.Text)
		if err != nil || v.Tag == "!!int" {
			d.report(path, "write true or false")
			return
		}
		into.SetBool(b)
	case t.Kind() == reflect.Int:
		v, _ := value.(scalar)
		n, err := strconv.ParseUint(v.Text, 10, 31)
		if err != nil {
			d.report(path, "write a number from 0 on")
			return
		}
		into.SetInt(int64(n))
	default:
		panic("config: no way to read a " + t.String())
	}
}

func (d *decoder) text(into reflect.Value, value any, path string) {
	v, ok := value.(scalar)
	if !ok {
		d.report(path, "is %s: write a single value", kindOf(value))
		return
	}
	if err := into.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(v.Text)); err != nil {
		if into.Type() == reflect.TypeFor[KeyHash]() { // it may be the key itself
			d.report(path, "this %v", err)
			return
		}
		d.report(path, "%q %v", v.Text, err)
	}
}

func (d *decoder) mapping(into reflect.Value, value any, path string) {
	m, ok := value.(map[string]any)
	if !ok {
		d.report(path, "is %s: write settings below it, as key: value", kindOf(value))
		return
	}
	t := into.Type()
	fields := map[string]int{}
	for i := range t.NumField() {
		if t.Field(i).IsExported() {
			fields[t.Field(i).Tag.Get("yaml")] = i
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := join(path, key)
		i, known := fields[key]
		if !known {
			d.note(at, true, "there is no such setting: "+suggest(key, slices.Sorted(maps.Keys(fields))))
			continue
		}
		d.decode(into.Field(i), m[key], at)
	}
}

func (d *decoder) list(into reflect.Value, value any, path string) {
	items, ok := value.([]any)
	if !ok {
		if _, isMap := value.(map[string]any); isMap || into.Type().Elem().Kind() == reflect.Struct && !isText(into.Type().Elem()) {
			d.report(path, "is %s: write a list: - and an item on each line", kindOf(value))
			return
		}
		items = []any{value} // one item needs no dash
	}
	list := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		d.decode(list.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
	}
	into.Set(list)
}

func kindOf(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case scalar:
		switch v.Tag {
		case "", "!!str":
			return "a text"
		case "!!bool":
			return "a truth value"
		case "!!int", "!!float":
			return "a number"
		}
	}
	return "something else"
}

// suggest names the setting that was meant, or all there are.
func suggest(key string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if n := edits(strings.ReplaceAll(strings.ToLower(key), "-", "_"), k); n < distance && n < len(k) {
			best, distance = k, n
		}
	}
	if best != "" {
		return "write " + best
	}
	return "there are " + strings.Join(known, ", ")
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
