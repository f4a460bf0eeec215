package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	for line, want := range map[string]string{
		"":                        "demo serve config keys operators",
		"se":                      "serve sessions",
		"config ":                 "check example",
		"config ex":               "example",
		"--ver":                   "--version",
		"demo --li":               "--listen",
		"demo --listen ":          "",         // a value
		"demo --events --li":      "--listen", // which takes none
		"demo --store=memory: --": "--help --version --listen",
		"backup ":                 "", // a file
		"completion ":             "bash zsh fish",
		"completion z":            "zsh",
		"nonsense se":             "serve sessions",
		"compl":                   "completion", // and not the hidden command
	} {
		words := strings.Split(line, " ")
		code, out, stderr := call(t, append([]string{"complete", "--"}, words...)...)
		got := strings.Join(strings.Fields(out), " ")
		if code != 0 || !strings.HasPrefix(got, want) || want == "" && got != "" || len(want) < 20 && got != want {
			t.Errorf("%q completes to %q, want %q (%d, %s)", line, got, want, code, stderr)
		}
	}
}

// The shells find the words by their scripts.
func TestCompletionInShells(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	program := "#!/bin/sh\n[ \"$1 $2\" = 'complete --' ] || exit 1\nshift 2\nfor word; do echo \"ex.$word\"; done\n"
	if err := os.WriteFile(filepath.Join(bin, "sojournd"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	for shell, script := range map[string]string{
		"bash": "COMP_WORDS=(sojournd config ex); COMP_CWORD=2; _sojournd; echo ${COMPREPLY[@]}",
		"fish": "complete -C 'sojournd config ex' | string join ' '",
	} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("there is no %s", shell)
			continue
		}
		_, text, _ := call(t, "completion", shell)
		out, err := exec.CommandContext(t.Context(), path, "-c", text+"\n"+script).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != "ex.config ex.ex" {
			t.Errorf("%s got %q (%v)", shell, got, err)
		}
	}
}
