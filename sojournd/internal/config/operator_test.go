package config

import (
	"strings"
	"testing"
)

// The lines are those of the operator alone: if they are taken out, the others
// stay.
func TestOperatorLines(t *testing.T) {
	const block = `# people
console:
  listen: 127.0.0.1:7083
  operators:
    - name: ada # on call
      hash: x
      roles: {"*": look,
        shop: end}
    # since May
    - hash: y
      name: bob
      roles:
        shop: look
log: {level: info}
`
	for name, want := range map[string]struct {
		file string
		line int
		text string
	}{
		"ada":   {block, 5, "    - name: ada # on call\n      hash: x\n      roles: {\"*\": look,\n        shop: end}\n"},
		"bob":   {block, 10, "    - hash: y\n      name: bob\n      roles:\n        shop: look\n"},
		"":      {block, 0, ""},
		"carl":  {block, 0, ""},
		"on":    {"console: {operators: [{name: on}, {name: off}]}", 1, ""},
		"empty": {"", 0, ""},
		"list":  {"console: []", 0, ""},
		"other": {"console: {operators: 5}", 0, ""},
		"bad":   {"console: [", 0, ""},
	} {
		line, text := OperatorLines([]byte(want.file), name)
		if line != want.line || text != want.text {
			t.Errorf("%q: line %d, %q", name, line, text)
		}
	}
	_, text := OperatorLines([]byte(block), "ada")
	rest := strings.Replace(block, text, "", 1)
	if line, _ := OperatorLines([]byte(rest), "ada"); line != 0 {
		t.Error("ada is still there")
	}
	if line, _ := OperatorLines([]byte(rest), "bob"); line != 6 {
		t.Errorf("bob is in line %d", line)
	}
}
