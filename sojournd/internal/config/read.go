package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Environment is a list of variables in the form of os.Environ.
// SOJOURN_LOG_LEVEL sets log.level. Commas separate the items of a list.
// Variables cannot set what is inside a list, such as an application.
type Environment []string

// Flags are settings from the command line, by their path in the file, such as
// "log.level".
type Flags map[string]string

// ErrNoFile is returned by Load if the file does not exist.
var ErrNoFile = errors.New("there is no configuration file")

// Load reads a file and passes its text to Read.
func Load(name string, env Environment, flags Flags, also ...Check) (*Config, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w %s: sojournd config example prints one to start from", ErrNoFile, name)
	} else if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Read(name, text, env, flags, also...)
}

// Read returns the configuration in the text of a file. Variables override the
// file, and flags override both. The error is a *Problems with every mistake,
// including those that the checks report.
func Read(name string, text []byte, env Environment, flags Flags, also ...Check) (*Config, error) {
	d := &decoder{file: name, origins: map[*yaml.Node]string{}, values: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{}, wrong: map[string]bool{}}
	if root := d.parse(text); root != nil {
		d.override(root, env, flags)
		c := defaults()
		d.decode(reflect.ValueOf(c).Elem(), root, "")
		for i := range c.Applications {
			c.Applications[i].complete()
			_, c.Applications[i].namesLoginURL = d.keys[fmt.Sprintf("applications[%d].login_url", i)]
		}
		for _, look := range append([]Check{check}, also...) {
			look(c, d.report)
		}
		if len(d.problems) == 0 {
			return c, nil
		}
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return nil, &Problems{slices.Compact(d.problems)}
}

// parse returns the file's mapping of settings. It reports mistakes in the
// YAML, and returns nil if there is no mapping.
func (d *decoder) parse(text []byte) *yaml.Node {
	var docs []yaml.Node
	if err := yaml.Load(text, &docs, yaml.WithUniqueKeys(false), yaml.WithAllDocuments()); err != nil {
		d.problems = append(d.problems, d.syntax(text, err))
		return nil
	}
	empty := &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	if len(docs) == 0 || len(docs[0].Content) == 0 {
		return empty
	}
	if len(docs) > 1 {
		d.problems = append(d.problems, d.at(&docs[1], "", "here a second document begins: write one"))
	}
	root := docs[0].Content[0]
	d.checkKeys(root, "")
	switch {
	case root.Kind == yaml.MappingNode:
		return root
	case isNull(root):
		return empty
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: 1, Column: 1, Text: "write settings as key: value, as sojournd config example does"})
	return nil
}

// syntax puts a YAML error into words.
func (d *decoder) syntax(text []byte, err error) Problem {
	p := Problem{File: d.file, Line: 1, Column: 1, Text: err.Error()}
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

// indentedByTab returns the place of the first tab in the indentation of a
// line, or 0 if there is none.
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

// checkKeys reports and removes keys that are repeated or are not names.
func (d *decoder) checkKeys(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			d.checkKeys(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		lines := map[string]int{}
		var good []*yaml.Node
		for pair := range slices.Chunk(n.Content, 2) {
			key := pair[0]
			if line, twice := lines[key.Value]; twice {
				d.problems = append(d.problems, d.at(key, path, fmt.Sprintf("%q is set in line %d already: take one out", key.Value, line)))
				continue
			}
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				d.problems = append(d.problems, d.at(key, path, "this is no name of a setting"))
				continue
			}
			lines[key.Value] = key.Line
			good = append(good, pair...)
			d.checkKeys(pair[1], join(path, key.Value))
		}
		n.Content = good
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// override lays the environment over the file's settings, and the flags over
// both.
func (d *decoder) override(root *yaml.Node, env Environment, flags Flags) {
	variables := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		variables[name] = value
	}
	known := map[string]bool{}
	for _, s := range settings() {
		known[s.path] = true
		if value := variables[s.variable()]; value != "" {
			d.set(root, s, value, "$"+s.variable())
		}
		if value, ok := flags[s.path]; ok {
			d.set(root, s, value, commandLine)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		if !known[path] {
			d.problems = append(d.problems, Problem{File: commandLine, Path: path, Text: "there is no such setting: " + meant(path)})
		}
	}
}

// set gives a setting a value. Origin is where the value comes from.
func (d *decoder) set(n *yaml.Node, s setting, value, origin string) {
	for key := range strings.SplitSeq(s.path, ".") {
		if n.Kind != yaml.MappingNode {
			*n = yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
		}
		n = child(n, key)
	}
	d.origins[n] = origin
	if !s.list {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
		return
	}
	*n = yaml.Node{Kind: yaml.SequenceNode}
	for item := range strings.SplitSeq(value, ",") {
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(item)}
		d.origins[node] = origin
		n.Content = append(n.Content, node)
	}
}

// child returns the value of a key, which it adds if it is missing.
func child(n *yaml.Node, key string) *yaml.Node {
	for pair := range slices.Chunk(n.Content, 2) {
		if pair[0].Value == key {
			return pair[1]
		}
	}
	value := new(yaml.Node)
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	return value
}
