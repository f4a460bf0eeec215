package main

import (
	"strings"
	"testing"
)

func TestClientCommandLine(t *testing.T) {
	const id = "0198e0c5-0000-7000-8000-000000000001"
	for _, c := range []struct {
		key, args string
		code      int
		stdout    string
		stderr    string
	}{
		{"", "sessions list --help", 0, "--subject", ""},
		{"", "subjects end --help", 0, "--except", ""},
		{"", "events --help", 0, "SOJOURN_KEY", ""},
		{"", "stats", 2, "", "SOJOURN_KEY"},
		{"secret", "stats --key secret", 2, "", "unknown flag --key"}, // every user of the machine would see it
		{"secret", "stats --server http://127.0.0.1:1", 1, "", "nobody listens at http://127.0.0.1:1"},
		{"secret", "events -f --server http://127.0.0.1:1", 1, "", "nobody listens"},
		{"secret", "sessions list --server http://127.0.0.1:1", 1, "", "nobody listens"},
		{"secret", "subjects end alice --server unix:/nowhere", 1, "", "nobody listens"},
		{"secret", "sessions end " + id + " --server http://10.1.2.3", 2, "", "unencrypted"},
		{"secret", "sessions show x", 2, "", "no session's ID"},
		{"secret", "sessions set x plan 1", 2, "", "no session's ID"},
		{"secret", "sessions set " + id + " plan dark --server http://127.0.0.1:1", 1, "", "not JSON"},
		{"secret", "sessions set " + id + " plan", 2, "", "<value>"},
		{"secret", "sessions touch x", 2, "", "no session's ID"},
		{"secret", "sessions touch", 2, "", "no session's ID"},
		{"secret", "stats --key-file /nowhere --server http://127.0.0.1:1", 1, "", "nobody listens"}, // the variable goes before
		{"", "stats --key-file /nowhere", 2, "", "no such file"},
		{"secret", "sessions list --limit -1", 2, "", `--limit: "-1" is no number of them: use a whole number from 0 on`},
		{"secret", "sessions list --limit many", 2, "", `--limit: "many" is no number`},
		{"secret", "sessions list --level x", 2, "", `--level: "x" is no level: use 1, 2 or 3`},
		{"secret", "sessions list --level 4", 2, "", "use 1, 2 or 3"},
		{"secret", "sessions list --seen-from -5m", 2, "", `"-5m" is no time: write a date such as 2026-11-24`},
		{"secret", "sessions list --seen-from 2026-11-29 --created-to 2026-11-29T09:30:00Z --limit 0 --level 2 --server http://127.0.0.1:1", 1, "", "nobody listens"},
		{"secret", "events -n -1", 2, "", "-1"},
		{"secret", "sessions list --seen-to yesterday", 2, "", "how long ago"},
		{"secret", "sessions list --values --anonymous", 2, "", "--values works only"},
		{"secret", "sessions list --logged-in --anonymous", 2, "", "--anonymous"},
		{"secret", "events --last 10001", 2, "", "--last"},
		{"secret", "sessions end", 2, "", "name the sessions"},
		{"secret", "sessions end --all", 2, "", "--yes"},
		{"secret", "sessions end --all --yes " + id, 2, "", "--all"},
		{"secret", "sessions", 2, "", "list"},
		{"secret", "subjects end", 2, "", "<user>"},
	} {
		t.Setenv("SOJOURN_KEY", c.key)
		code, stdout, stderr := call(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || strings.Contains(stdout+stderr, "secret") && !strings.Contains(c.args, "secret") {
			t.Errorf("%q: exit code %d, want %d; printed %q and %q", c.args, code, c.code, stdout, stderr)
		}
	}
}
