package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v4"
)

// Environment are the variables of a process that begin with SOJOURN_, as os.Environ lists them. SOJOURN_LOG_LEVEL
// is log.level; lists are separated by commas. What is in a list, such as an application, only the file can say.
type Environment []string

// Flags are settings of the command line, by their path in the file: "log.level".
type Flags map[string]string

// ErrNoFile is Load's error where there is no such file.
var ErrNoFile = errors.New("there is no configuration file")

// Load reads a file, and Read does the rest.
func Load(name string, env Environment, flags Flags, also ...Check) (*Config, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w %s: sojournd config example prints one to start from", ErrNoFile, name)
	} else if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Read(name, text, env, flags, also...)
}

// Read returns the configuration of a file's text, with what the environment and the flags change. The error is a
// *Problems with every mistake, those that the checks find too.
func Read(name string, text []byte, env Environment, flags Flags, also ...Check) (*Config, error) {
	src := &source{file: name, fromEnv: map[string]string{}, fromFlag: map[string]string{}}
	values, problems := src.parse(text)
	if values == nil {
		return nil, src.inOrder(problems)
	}
	merged := koanf.New(".")
	for _, l := range []layer{values, src.environment(env), src.flags(flags)} {
		if err := merged.Load(l, nil); err != nil {
			return nil, fmt.Errorf("merge the configuration: %w", err)
		}
	}
	c := defaults()
	d := decoder{src: src, problems: problems}
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		if _, known := src.fromFlag[path]; !known {
			d.problems = append(d.problems, Problem{File: commandLine, Path: path, Text: "there is no such setting: " + meant(path)})
		}
	}
	d.decode(reflect.ValueOf(c).Elem(), merged.Raw(), "")
	for i := range c.Applications {
		c.Applications[i].complete()
		_, c.Applications[i].namesLoginURL = src.keys[fmt.Sprintf("applications[%d].login_url", i)]
	}
	for _, look := range append([]Check{check}, also...) {
		look(c, d.report)
	}
	if len(d.problems) > 0 {
		return nil, src.inOrder(d.problems)
	}
	return c, nil
}

// A layer is a koanf.Provider of values that are there.
type layer map[string]any

func (l layer) Read() (map[string]any, error) { return l, nil }
func (l layer) ReadBytes() ([]byte, error)    { return nil, errors.ErrUnsupported }

// A source knows where each setting comes from.
type source struct {
	file     string
	keys     map[string]place // of the file, by path
	values   map[string]place
	fromEnv  map[string]string // name of the variable, by path
	fromFlag map[string]string
}

type place struct{ line, column int }

// A scalar is a value as it is written. A plain number or truth value says so in its tag; what the environment and the
// flags say has none.
type scalar struct{ Text, Tag string } // exported for koanf, which copies them

const aliasTag = "!!alias" // of a scalar that stands for an alias

// parse returns the file's values, and notes where they stand. The values are map[string]any, []any, scalar and nil; nil altogether where
// the text is none of settings.
func (s *source) parse(text []byte) (layer, []Problem) {
	s.keys, s.values = map[string]place{}, map[string]place{}
	var docs []yaml.Node
	if err := yaml.Load(text, &docs, yaml.WithUniqueKeys(false), yaml.WithAllDocuments()); err != nil {
		return nil, []Problem{s.syntax(text, err)}
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 {
		return layer{}, nil
	}
	var problems []Problem
	if len(docs) > 1 {
		problems = append(problems, Problem{File: s.file, Line: docs[1].Line, Column: docs[1].Column, Text: "here a second document begins: write one"})
	}
	switch values := s.locate(docs[0].Content[0], "", &problems).(type) {
	case map[string]any:
		return values, problems
	case nil:
		return layer{}, problems
	}
	return nil, append(problems, Problem{File: s.file, Line: 1, Column: 1, Text: "write settings as key: value, as sojournd config example does"})
}

func (s *source) syntax(text []byte, err error) Problem {
	p := Problem{File: s.file, Line: 1, Column: 1, Text: err.Error()}
	var where *yaml.LoadError
	if errors.As(err, &where) {
		p.Text = where.Message
		if where.Mark.Line > 0 {
			p.Line, p.Column = where.Mark.Line, max(where.Mark.Column, 1)
		}
	}
	if line, column := indentedByTab(text); line > 0 {
		p.Line, p.Column = line, column
		p.Text = "this line is indented with a tab, and YAML takes spaces only: write spaces"
		return p
	}
	switch {
	case strings.Contains(p.Text, "mapping values are not allowed"):
		p.Text += `: put a value that has a colon in it, like "memory:", in quotes`
	case strings.Contains(p.Text, "cannot start any token"):
		p.Text += ": put the value in quotes"
	}
	p.Text = "this is not YAML: " + p.Text
	return p
}

// indentedByTab returns the place of the first tab that a line begins with,
// after blanks or none; 0 if there is none.
func indentedByTab(text []byte) (line, column int) {
	for content := range bytes.Lines(text) {
		line++
		rest := bytes.TrimLeft(content, " ")
		if len(rest) > 0 && rest[0] == '\t' && len(bytes.TrimSpace(rest)) > 0 {
			return line, len(content) - len(rest) + 1
		}
	}
	return 0, 0
}

// locate notes the places of a node and of what it holds, and returns its value.
func (s *source) locate(n *yaml.Node, path string, problems *[]Problem) any {
	s.values[path] = place{n.Line, n.Column}
	wrong := func(key *yaml.Node, format string, args ...any) {
		*problems = append(*problems, Problem{File: s.file, Line: key.Line, Column: key.Column, Path: path, Text: fmt.Sprintf(format, args...)})
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			keyPath := join(path, key.Value)
			if _, twice := m[key.Value]; twice {
				wrong(key, "%q is set in line %d already: take one out", key.Value, s.keys[keyPath].line)
				continue
			}
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				wrong(key, "this is no name of a setting")
				continue
			}
			s.keys[keyPath] = place{key.Line, key.Column}
			m[key.Value] = s.locate(n.Content[i+1], keyPath, problems)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = s.locate(item, fmt.Sprintf("%s[%d]", path, i), problems)
		}
		return list
	case yaml.AliasNode:
		return scalar{Tag: aliasTag}
	}
	if n.ShortTag() == "!!null" {
		return nil
	}
	return scalar{n.Value, n.ShortTag()}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// environment returns the settings of the environment.
func (s *source) environment(env Environment) layer {
	names := map[string]setting{}
	for _, one := range settings() {
		names[one.variable()] = one
	}
	l := layer{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if one, ok := names[name]; ok && value != "" {
			s.fromEnv[one.path] = name
			l.put(one, value)
		}
	}
	return l
}

// Unknown returns the variables that begin with SOJOURN_ and set nothing.
func (env Environment) Unknown(others ...string) []string {
	known := others
	for _, one := range settings() {
		known = append(known, one.variable())
	}
	var unknown []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "SOJOURN_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// MeantVariable says what to write instead of a variable that sets nothing.
func MeantVariable(name string) string {
	var known []string
	for _, one := range settings() {
		known = append(known, one.variable())
	}
	if text := suggest(strings.ToLower(name), lower(known)); strings.HasPrefix(text, "write ") {
		return "write " + strings.ToUpper(strings.TrimPrefix(text, "write "))
	}
	return "sojournd config example prints all settings: log.level is SOJOURN_LOG_LEVEL"
}

func lower(list []string) []string {
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
	return list
}

func (s *source) flags(flags Flags) layer {
	l := layer{}
	for _, one := range settings() {
		if value, ok := flags[one.path]; ok {
			s.fromFlag[one.path] = value
			l.put(one, value)
		}
	}
	return l
}

// meant says what to write instead of a path that is no setting's.
func meant(path string) string {
	var known, below []string
	for _, one := range settings() {
		known = append(known, one.path)
		if strings.HasPrefix(one.path, path+".") {
			below = append(below, one.path)
		}
	}
	for _, list := range []string{"applications", "events.webhooks"} {
		if strings.HasPrefix(path, list) {
			return "what is in " + list + " can be set in the file only"
		}
	}
	if len(below) > 0 {
		return "write one of " + strings.Join(below, ", ")
	}
	if text := suggest(path, known); strings.HasPrefix(text, "write ") {
		return text
	}
	for _, k := range known { // the group was left out
		if strings.HasSuffix(k, "."+path) {
			return "write " + k
		}
	}
	return "sojournd config example prints all that there are"
}

// put sets what is at a path.
func (l layer) put(one setting, value string) {
	keys := strings.Split(one.path, ".")
	for _, key := range keys[:len(keys)-1] {
		next, ok := l[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			l[key] = next
		}
		l = next
	}
	if !one.list {
		l[keys[len(keys)-1]] = scalar{Text: value}
		return
	}
	items := []any{}
	for item := range strings.SplitSeq(value, ",") {
		items = append(items, scalar{Text: strings.TrimSpace(item)})
	}
	l[keys[len(keys)-1]] = items
}

// A setting can be given outside the file.
type setting struct {
	path string
	list bool
}

// variable returns the name of the environment variable.
func (s setting) variable() string {
	return "SOJOURN_" + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

// settings lists all that isn't inside a list of mappings.
func settings() (list []setting) {
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		switch {
		case isText(t), t.Kind() != reflect.Struct && t.Kind() != reflect.Slice:
			list = append(list, setting{path: path})
		case t.Kind() == reflect.Slice && (isText(t.Elem()) || t.Elem().Kind() != reflect.Struct):
			list = append(list, setting{path, true})
		case t.Kind() == reflect.Struct:
			for i := range t.NumField() {
				walk(t.Field(i).Type, join(path, t.Field(i).Tag.Get("yaml")))
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return list
}
