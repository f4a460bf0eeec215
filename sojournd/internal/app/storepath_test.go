package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStorePath(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_STATE_HOME", home)
	t.Chdir(dir)
	if err := os.Symlink("nowhere", "link"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "s.db")
	for url, want := range map[string]string{
		"memory:":                      "",
		"sqlite:":                      filepath.Join(home, "sojourn", "sojourn.db"),
		"sqlite:" + file:               file,
		"sqlite:" + dir + "/x/../s.db": file,
		"sqlite:" + dir + "/a b?%41:#": dir + "/a b?%41:#",
		"sqlite:" + dir + "/link":      dir + "/link",
	} {
		if path, err := storePath(url); err != nil || path != want {
			t.Errorf("%q: %q, %v, want %q", url, path, err, want)
		}
	}
	for url, want := range map[string]string{
		"":                        "use --store sqlite:/path/to/sojourn.db, --store redis://host:6379/0, --store postgres://user@host/database, or --store memory:",
		":":                       "--store memory:",
		"memory":                  "--store memory:",
		"sqlite":                  "--store sqlite:/path/to/sojourn.db",
		"memory://x":              "nothing after the colon: use --store memory:",
		file:                      "use --store sqlite:" + file,
		"s.db":                    "no store's URL",
		"sqlite:s.db":             "must be absolute, so that it is the same from every directory: use --store sqlite:" + file,
		"sqlite:./s.db":           "use --store sqlite:" + file,
		"sqlite: /s.db":           "must be absolute",
		"sqlite:~/s.db":           "use --store sqlite:" + filepath.Join(home, "s.db"),
		"sqlite:~":                "write the whole path",
		"sqlite:~ada/s.db":        "write the whole path",
		"sqlite://localhost/x":    "without a host: use --store sqlite:/path",
		"sqlite://" + file:        "use --store sqlite:" + file,
		"sqlite:" + file + "?a=b": "a path and nothing else",
		"sqlite:" + dir:           "use --store sqlite:" + filepath.Join(dir, "sojourn.db"),
		"sqlite:/nowhere/":        "use --store sqlite:/nowhere/sojourn.db",
		"sqlite:/":                "use --store sqlite:/sojourn.db",
		"sqlite:/dev/null":        "no regular file",
		"mysql://host:1/x":        `no store of the kind "mysql": use --store sqlite:/path/to/sojourn.db`,
		"mysql://u:pass@host:1":   "no URL of a store",
		"//u:pass@host/db":        "no URL of a store",
		"sqlite:u:pass@host":      "no URL of a store",
		"host=h password=pass":    "no URL of a store",
		"host=h PASSWORD=pass x":  "no URL of a store",
		"SQLITE:" + file:          `no store of the kind "SQLITE"`,
		"file:" + file:            `no store of the kind "file"`,
	} {
		path, err := storePath(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pass") {
			t.Errorf("%q: %q, %v, want %q and no password", url, path, err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("made %v, %v", left, err)
	}
}

func TestShopPath(t *testing.T) {
	for path, want := range map[string]string{"/a/sojourn.db": "/a/sojourn-shop.db", "/a/s": "/a/s-shop.db", "/a/.db": "/a/-shop.db"} {
		if got := shopPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
