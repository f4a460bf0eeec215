package app

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Keys are appended to a file that only its owner can read. The first stays the
// first.
func TestNewSealKey(t *testing.T) {
	now := time.Date(2026, 11, 29, 23, 30, 0, 0, time.FixedZone("", -3600))
	var out bytes.Buffer
	if err := NewSealKey(SealKeyOptions{Out: &out, Now: now}); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^# sealing key ([0-9a-f]{8}), made 2026-11-30\nsojourn_seal_[\w-]{43}\n$`)
	printed := form.FindStringSubmatch(out.String())
	if printed == nil {
		t.Fatalf("printed %q", &out)
	}
	keys, err := parseSealKeys("f", out.String())
	if err != nil || len(keys) != 1 || sealKeyID(keys[0]) != printed[1] {
		t.Errorf("%v, %d keys, printed as %s", err, len(keys), printed[1])
	}

	file := filepath.Join(t.TempDir(), "seal-keys")
	var ids []string
	for i, want := range []string{"Name the file in the configuration", "as its last", "as its last"} {
		out.Reset()
		if err := NewSealKey(SealKeyOptions{File: file, Out: &out, Now: now}); err != nil || !strings.Contains(out.String(), want) {
			t.Fatalf("key %d: %v, printed %q", i, err, &out)
		}
		if strings.Contains(out.String(), sealKeyPrefix) {
			t.Error("a key that went to a file was printed, too")
		}
		ids = append(ids, regexp.MustCompile(`[0-9a-f]{8}`).FindString(strings.ReplaceAll(out.String(), file, "")))
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // an editor left out the last line's end
			if err := os.WriteFile(file, bytes.TrimSpace(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if keys, err = readSealKeys(file); err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, key := range keys {
		if sealKeyID(key) != ids[i] {
			t.Errorf("key %d is %s, want %s", i, sealKeyID(key), ids[i])
		}
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	out.Reset()
	var asJSON struct{ ID, File, Key string }
	if err := NewSealKey(SealKeyOptions{File: file, JSON: true, Out: &out, Now: now}); err != nil || json.Unmarshal(out.Bytes(), &asJSON) != nil || asJSON.File != file || asJSON.ID == "" || asJSON.Key != "" {
		t.Errorf("%v: %s", err, &out)
	}
	out.Reset()
	if err := NewSealKey(SealKeyOptions{JSON: true, Out: &out, Now: now}); err != nil || json.Unmarshal(out.Bytes(), &asJSON) != nil || !strings.HasPrefix(asJSON.Key, sealKeyPrefix) {
		t.Errorf("%v: %s", err, &out)
	}

	// A file whose keys were all taken out gets one, as the error for it says.
	if err := os.WriteFile(file, []byte("# sealing key 01234567, made 2025-01-01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewSealKey(SealKeyOptions{File: file, Out: &out, Now: now}); err != nil {
		t.Errorf("a file without keys: %v", err)
	}
	if keys, err = readSealKeys(file); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}

	// Nothing is appended to a file that is something else.
	if err := os.WriteFile(file, []byte("store: 'memory:'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewSealKey(SealKeyOptions{File: file, Out: &out, Now: now}); err == nil || !strings.Contains(err.Error(), file+":1: no sealing key") {
		t.Errorf("appended to a configuration: %v", err)
	}
	if err := NewSealKey(SealKeyOptions{File: filepath.Join(t.TempDir(), "none", "keys"), Out: &out, Now: now}); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
}

// Errors name the line, and hold no key.
func TestReadSealKeys(t *testing.T) {
	key := func(n int, c byte) string {
		return sealKeyPrefix + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{c}, n))
	}
	good := key(32, 'a')
	for _, c := range []struct{ text, want string }{
		{good, ""},
		{"\n# a comment\r\n  " + good + "\r\n" + key(32, 'b'), ""},
		{"", ": holds no key"},
		{"# nothing\n\n", ": holds no key"},
		{good + "\n\n# again\n" + good + "\n", ":4: in line 1 already"},
		{good + "\n" + key(31, 'b'), ":2: no sealing key"},
		{key(33, 'b'), ":1: 43 characters"},
		{good[:len(good)-1], ":1: no sealing key"},
		{good + "=", ":1: no sealing key"},
		{key(32, 0), ":1: no sealing key"},
		{good + " " + good, ":1: no sealing key"},
		{good[:len(good)-1] + "F", ":1: no sealing key"}, // the last two bits must be 0
		{strings.TrimPrefix(good, sealKeyPrefix), ":1: no sealing key"},
		{"sojourn_" + strings.TrimPrefix(good, sealKeyPrefix), ":1: no sealing key"},
	} {
		file := filepath.Join(t.TempDir(), "seal-keys")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readSealKeys(file)
		if c.want == "" {
			if err != nil {
				t.Errorf("%q: %v", c.text, err)
			}
			continue
		}
		line, words, _ := strings.Cut(c.want, " ")
		if err == nil || !strings.Contains(err.Error(), file+strings.TrimSuffix(line, ":")) || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		} else if strings.Contains(err.Error(), good[len(sealKeyPrefix):]) || strings.Contains(err.Error(), "YmJiYmJi") {
			t.Errorf("the error holds a key: %v", err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	file := filepath.Join(t.TempDir(), "seal-keys")
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readSealKeys(file); (err != nil) != refused || refused && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}
