package main

import (
	"fmt"
	"regexp"
)

// A benchCase is one thing that is measured, the same for every contender.
type benchCase struct {
	name  string
	setup []op // prepare the visitor
	op    op   // is measured
	check op   // shows afterwards that op did its work; nothing: op shows it itself
	fresh bool // a new store for each slice, since op leaves something in it
}

var benchCases = []benchCase{
	{name: "read the subject", setup: []op{login}, op: readSubject},
	{name: "read one string, of 1 key", setup: []op{create}, op: readTheme},
	{name: "read one string, of 20 keys and 2 KB", setup: []op{fillTwenty}, op: readTheme},
	{name: "read a struct of 3 fields", setup: []op{fillProfile}, op: readProfile},
	{name: "change one string", setup: []op{create}, op: change, check: readChanged},
	{name: "create a session of one string", op: create, check: readTheme, fresh: true},
	{name: "anonymous, touches nothing", op: nothing},
}

func (c benchCase) suits(s site) bool {
	for _, o := range c.setup {
		if !s.supports(o) {
			return false
		}
	}
	return s.supports(c.op)
}

// visitor returns a visitor for whom the case is set up, after another has shown that the contender does what it is measured for.
func (c benchCase) visitor(s site) (visitor, error) {
	first, err := c.prepared(s)
	if err != nil {
		return nil, err
	}
	if err := c.verify(s, first); err != nil {
		return nil, err
	}
	return c.prepared(s)
}

func (c benchCase) prepared(s site) (visitor, error) {
	v := s.visitor()
	for _, o := range c.setup {
		if err := v.send(o); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (c benchCase) verify(s site, v visitor) error {
	if err := v.send(c.op); err != nil {
		return err
	}
	if c.check != nothing && s.supports(c.check) {
		return v.send(c.check)
	}
	return nil
}

// selectCases returns the cases whose name matches.
func selectCases(pattern string) ([]benchCase, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("bench: -cases: %w", err)
	}
	var cases []benchCase
	for _, c := range benchCases {
		if re.MatchString(c.name) {
			cases = append(cases, c)
		}
	}
	return cases, nil
}
