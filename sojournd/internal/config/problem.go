package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problems are the mistakes of a configuration.
type Problems struct{ List []Problem } // in the order of the file

// OnCommandLine reports whether one of the mistakes is on the command line.
func (p *Problems) OnCommandLine() bool {
	return slices.ContainsFunc(p.List, func(one Problem) bool { return one.File == commandLine })
}

const commandLine = "the command line" // as Problem.File

// A Problem is one mistake.
type Problem struct {
	File         string // or the variable or flag, where there is no line
	Line, Column int
	Path         string // of the setting
	Text         string // what is wrong, and what to write instead
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.Text
}

func (p *Problems) Error() string {
	count := fmt.Sprintf("%d mistakes", len(p.List))
	if len(p.List) == 1 {
		count = "a mistake"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration has %s:", count)
	for _, one := range p.List {
		b.WriteString("\n  " + one.String())
	}
	return b.String()
}

// problem finds the place of a mistake. Of a key that is wrong itself, it is that of the key.
func (s *source) problem(path string, ofKey bool, text string) Problem {
	whole, _, _ := strings.Cut(path, "[") // flags and variables give a list as a whole
	if value, ok := s.fromFlag[whole]; ok && value != "" {
		return Problem{File: commandLine, Path: path, Text: text}
	}
	if name, ok := s.fromEnv[whole]; ok {
		return Problem{File: "$" + name, Path: path, Text: text}
	}
	p := Problem{File: s.file, Line: 1, Column: 1, Path: path, Text: text}
	at, ok := s.values[path]
	if ofKey || !ok {
		if key, isKey := s.keys[path]; isKey {
			at, ok = key, true
		}
	}
	for up := path; !ok && up != ""; {
		up = up[:max(strings.LastIndexAny(up, ".["), 0)]
		if at, ok = s.values[up]; !ok {
			at, ok = s.keys[up]
		}
	}
	if ok {
		p.Line, p.Column = at.line, at.column
	}
	return p
}

func (s *source) inOrder(list []Problem) *Problems {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Problems{slices.Compact(list)}
}
