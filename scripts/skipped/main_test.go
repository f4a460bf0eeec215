package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSkippedForWantOfAComponent(t *testing.T) {
	event := func(action, output string) string {
		return `{"Action":"` + action + `","Package":"p","Test":"TestX","Output":"` + output + `"}` + "\n"
	}
	tests := []struct{ name, events, want string }{
		{"skipped for want", event("output", `    x_test.go:9: needs chromium: not found\n`) + event("skip", ""), "p TestX needs chromium: not found"},
		{"skipped otherwise", event("output", `    x_test.go:9: only on Windows\n`) + event("skip", ""), ""},
		{"says it and passes", event("output", `    x_test.go:9: needs chromium: found\n`) + event("pass", ""), ""},
		{"prints it unasked", event("output", `needs chromium: said a handler\n`) + event("skip", ""), ""},
	}
	for _, test := range tests {
		got, err := find(strings.NewReader(test.events))
		if err != nil || strings.Join(got, "\n") != test.want {
			t.Errorf("%s: got %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestExitsByWhatItFinds(t *testing.T) {
	file := func(events string) string {
		name := filepath.Join(t.TempDir(), "events.json")
		if err := os.WriteFile(name, []byte(events), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	output := `{"Action":"output","Package":"p","Test":"T","Output":"    x_test.go:9: needs redis: none\n"}` + "\n"
	tests := []struct {
		name string
		args []string
		fail bool
	}{
		{"all ran", []string{file(output + `{"Action":"pass","Package":"p","Test":"T"}`)}, false},
		{"one skipped", []string{file(output + `{"Action":"skip","Package":"p","Test":"T"}`)}, true},
		{"nothing ran", []string{file("")}, true},
		{"not JSON", []string{file("FAIL\n")}, true},
		{"no such file", []string{filepath.Join(t.TempDir(), "none")}, true},
		{"no argument", nil, true},
	}
	for _, test := range tests {
		if err := run(test.args, io.Discard); (err != nil) != test.fail {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
