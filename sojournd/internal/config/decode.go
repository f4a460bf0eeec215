package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A decoder fills in a Config. It goes on after a mistake.
type decoder struct {
	file     string
	origins  map[*yaml.Node]string // of values that are not from the file: "$" and a variable, or commandLine
	values   map[string]*yaml.Node // by path
	keys     map[string]*yaml.Node // by path
	problems []Problem
	wrong    map[string]bool // paths with a mistake; the checks report no second one there
}

const commandLine = "the command line" // as Problem.File

// report notes a mistake at a path, unless one was found there before.
func (d *decoder) report(path, format string, args ...any) {
	if d.wrong[path] {
		return
	}
	d.wrong[path] = true
	n := d.values[path]
	for up := path; (n == nil || n.Line == 0 && d.origins[n] == "") && up != ""; n = d.values[up] {
		up = up[:max(strings.LastIndexAny(up, ".["), 0)]
	}
	d.problems = append(d.problems, d.at(n, path, fmt.Sprintf(format, args...)))
}

// at returns a problem at the place of a node.
func (d *decoder) at(n *yaml.Node, path, text string) Problem {
	if origin := d.origins[n]; origin != "" {
		return Problem{File: origin, Path: path, Text: text}
	}
	return Problem{File: d.file, Line: n.Line, Column: n.Column, Path: path, Text: text}
}

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d *decoder) decode(into reflect.Value, n *yaml.Node, path string) {
	d.values[path] = n
	if isNull(n) {
		if into.Kind() == reflect.Pointer {
			d.report(path, "has nothing below it: write {} for its defaults, or take it out")
		}
		return // a key without a value has the default
	}
	if n.Kind == yaml.AliasNode {
		d.report(path, "aliases have no meaning here: write the value again")
		return
	}
	switch t := into.Type(); {
	case isText(t):
		d.text(into, n, path)
	case t.Kind() == reflect.Pointer: // to a mapping that may be left out
		into.Set(reflect.New(t.Elem()))
		d.mapping(into.Elem(), n, path)
	case t.Kind() == reflect.Struct:
		d.mapping(into, n, path)
	case t.Kind() == reflect.Slice:
		d.list(into, n, path)
	case t.Kind() == reflect.Map:
		d.names(into, n, path)
	case t.Kind() == reflect.String:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			d.report(path, "is %s: write a text, in quotes if it looks like something else", kindOf(n))
			return
		}
		into.SetString(n.Value)
	case t.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if err != nil || n.ShortTag() == "!!int" {
			d.report(path, "write true or false")
			return
		}
		into.SetBool(b)
	case t.Kind() == reflect.Int:
		number, err := strconv.ParseUint(n.Value, 10, 31)
		if err != nil {
			d.report(path, "write a number from 0 on")
			return
		}
		into.SetInt(int64(number))
	default:
		panic("config: no way to read a " + t.String())
	}
}

func (d *decoder) text(into reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.report(path, "is %s: write a single value", kindOf(n))
		return
	}
	if err := into.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		if t := into.Type(); t == reflect.TypeFor[KeyHash]() || t == reflect.TypeFor[PasswordHash]() { // the text may be the secret itself
			d.report(path, "this %v", err)
			return
		}
		d.report(path, "%q %v", n.Value, err)
	}
}

func (d *decoder) mapping(into reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(path, "is %s: write settings below it, as key: value", kindOf(n))
		return
	}
	known := map[string]reflect.StructField{}
	for _, f := range fields(into.Type()) {
		known[f.Tag.Get("yaml")] = f
	}
	for pair := range slices.Chunk(n.Content, 2) {
		key, at := pair[0], join(path, pair[0].Value)
		d.keys[at] = key
		f, ok := known[key.Value]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			text := "there are " + strings.Join(names, ", ")
			if best := closest(key.Value, names); best != "" {
				text = "write " + best
			}
			d.problems = append(d.problems, d.at(key, at, "there is no such setting: "+text))
			continue
		}
		d.decode(into.FieldByIndex(f.Index), pair[1], at)
	}
}

// names fills in a map of texts, whose keys are names of the user's.
func (d *decoder) names(into reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(path, "is %s: write names and texts below it, as name: text", kindOf(n))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for pair := range slices.Chunk(n.Content, 2) {
		at, value := join(path, pair[0].Value), reflect.New(into.Type().Elem()).Elem()
		d.keys[at] = pair[0]
		d.decode(value, pair[1], at)
		into.SetMapIndex(reflect.ValueOf(pair[0].Value), value)
	}
}

func (d *decoder) list(into reflect.Value, n *yaml.Node, path string) {
	items := n.Content
	if n.Kind != yaml.SequenceNode {
		if elem := into.Type().Elem(); n.Kind == yaml.MappingNode || elem.Kind() == reflect.Struct && !isText(elem) {
			d.report(path, "is %s: write a list: - and an item on each line", kindOf(n))
			return
		}
		items = []*yaml.Node{n} // one item needs no dash
	}
	list := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		d.decode(list.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
	}
	into.Set(list)
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "a text"
	case "!!bool":
		return "a truth value"
	case "!!int", "!!float":
		return "a number"
	}
	return "something else"
}

// Problems are the mistakes of a configuration.
type Problems struct{ List []Problem } // in the order of the file

// OnCommandLine reports whether one of the mistakes is on the command line.
func (p *Problems) OnCommandLine() bool {
	return slices.ContainsFunc(p.List, func(one Problem) bool { return one.File == commandLine })
}

// A Problem is one mistake.
type Problem struct {
	File         string // or "$" and a variable, or "the command line", without a line
	Line, Column int
	Path         string // of the setting
	Text         string // what is wrong, and what to write instead
}

func (p Problem) String() string {
	text := p.File + ": "
	if p.Line > 0 {
		text = fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	}
	if p.Path != "" {
		text += p.Path + ": "
	}
	return text + p.Text
}

func (p *Problems) Error() string {
	text := "the configuration has a mistake:"
	if len(p.List) != 1 {
		text = fmt.Sprintf("the configuration has %d mistakes:", len(p.List))
	}
	for _, one := range p.List {
		text += "\n  " + one.String()
	}
	return text
}
