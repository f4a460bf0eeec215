package app

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// DefaultStore returns the file for --store sqlite:, which is
// sojourn/sojourn.db in the user's state directory.
func DefaultStore() (string, error) {
	dir, err := stateDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: %w: set HOME or XDG_STATE_HOME, or say where the sessions live: %s", err, exampleStores)
	}
	return filepath.Join(dir, "sojourn", "sojourn.db"), nil
}

// stateDir returns the state directory: on Unix the one of the XDG Base
// Directory Specification, which says to ignore relative paths.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	switch runtime.GOOS {
	case "windows":
		return os.UserCacheDir() // %LocalAppData%
	case "darwin", "ios":
		return os.UserConfigDir() // ~/Library/Application Support
	}
	home, err := os.UserHomeDir()
	if err == nil && !filepath.IsAbs(home) {
		err = fmt.Errorf("$HOME is %q", home)
	}
	return filepath.Join(home, ".local", "state"), err
}

const (
	exampleStore  = "--store sqlite:/path/to/sojourn.db"
	exampleStores = exampleStore + ", --store redis://host:6379/0, --store postgres://user@host/database, or --store memory:"
)

// storePath returns the file in a store's URL. It is empty for memory:.
func storePath(url string) (string, error) {
	wrong := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("--store %q: %s", url, fmt.Sprintf(format, args...))
	}
	scheme, rest, found := strings.Cut(url, ":")
	switch {
	case tellsPassword(url) && !(scheme == "sqlite" && filepath.IsAbs(rest)):
		return "", fmt.Errorf("--store: this is no URL of a store (and isn't shown, since it may hold a secret): use %s", exampleStores)
	case url == "memory:":
		return "", nil
	case found && scheme == "memory":
		return wrong("the store in memory takes nothing after the colon: use --store memory: alone")
	case found && scheme == "sqlite":
		return sqlitePath(rest, wrong)
	case filepath.IsAbs(url):
		return wrong("the kind of the store is missing: use --store sqlite:%s", url)
	case !found:
		return wrong("this is no store's URL: use %s", exampleStores)
	}
	return "", fmt.Errorf("--store %q: there is no store of the kind %q: use %s", scheme+":…", scheme, exampleStores)
}

// tellsPassword reports whether a text may hold a database's password.
func tellsPassword(text string) bool {
	return strings.Contains(text, "@") || strings.Contains(strings.ToLower(text), "password=")
}

// parameters match the query of a URL. A file name may hold a question mark.
var parameters = regexp.MustCompile(`\?\w+=`)

// sqlitePath checks and returns the path after sqlite:.
func sqlitePath(path string, wrong func(format string, args ...any) (string, error)) (string, error) {
	switch {
	case path == "":
		return DefaultStore()
	case strings.HasPrefix(path, "///"):
		return wrong("one slash is enough, for there is no host: use --store sqlite:/%s", strings.TrimLeft(path, "/"))
	case strings.HasPrefix(path, "//"):
		return wrong("the path follows the colon, without a host: use %s", exampleStore)
	case parameters.MatchString(path):
		return wrong("a path and nothing else follows the colon: use %s", exampleStore)
	case strings.HasPrefix(path, "~"):
		if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(path, "~/") {
			return wrong("the shell leaves ~ as it is there: use --store sqlite:%s", filepath.Join(home, path[2:]))
		}
		return wrong("the shell leaves ~ as it is there: write the whole path, as in %s", exampleStore)
	case !filepath.IsAbs(path):
		if dir, err := os.Getwd(); err == nil {
			return wrong("the path must be absolute, so that it is the same from every directory: use --store sqlite:%s", filepath.Join(dir, path))
		}
		return wrong("the path must be absolute: use %s", exampleStore)
	}
	info, err := os.Stat(path)
	switch clean := filepath.Clean(path); {
	case err == nil && info.IsDir(), os.IsPathSeparator(path[len(path)-1]):
		return wrong("this is a directory: name a file in it: use --store sqlite:%s", filepath.Join(clean, "sojourn.db"))
	case err == nil && !info.Mode().IsRegular():
		return wrong("this is no regular file: use another one, as in %s", exampleStore)
	default:
		return clean, nil
	}
}

// shopPath returns the file of the shop's accounts, beside the file of its
// sessions.
func shopPath(storePath string) string { return strings.TrimSuffix(storePath, ".db") + "-shop.db" }
