package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// sealKeyPrefix makes keys recognisable for people and secret scanners.
const sealKeyPrefix = "sojourn_seal_"

// sealKeySize is the length of a sealing key in bytes.
const sealKeySize = 32

// SealKeyOptions say where NewSealKey writes.
type SealKeyOptions struct {
	File string    // the key is appended to it; empty: printed
	JSON bool      // print JSON
	Out  io.Writer // gets what is printed
	Now  time.Time // for the comment beside the key
}

// NewSealKey makes a key for sealed sessions. It prints the key, or appends it
// to a file, which it makes for the owner alone.
func NewSealKey(o SealKeyOptions) error {
	key := make([]byte, sealKeySize)
	_, _ = rand.Read(key) // never fails
	word, id := sealKeyPrefix+base64.RawURLEncoding.EncodeToString(key), sealKeyID(key)
	lines := fmt.Sprintf("# sealing key %s, made %s\n%s\n", id, o.Now.UTC().Format(time.DateOnly), word)
	if o.File == "" {
		if o.JSON {
			return json.NewEncoder(o.Out).Encode(map[string]string{"key": word, "id": id})
		}
		_, err := io.WriteString(o.Out, lines)
		return err
	}
	before, err := appendSealKey(o.File, lines)
	if err != nil {
		return err
	}
	if o.JSON {
		return json.NewEncoder(o.Out).Encode(map[string]string{"id": id, "file": o.File})
	}
	if before == 0 {
		_, err = fmt.Fprintf(o.Out, "%s holds the sealing key %s. Only its owner can read it, which must be the user that runs the server (chown).\n"+
			"Name the file in the configuration:\n\n    sealed: {for: visitors, keys_file: %[1]s}\n\nThen run systemctl reload sojournd, or send SIGHUP. Back the file up: without the key, the sessions are lost.\n", o.File, id)
		return err
	}
	_, err = fmt.Fprintf(o.Out, "%s holds the sealing key %s as its last. It opens cookies, and the first key seals them.\n"+
		"When every server has the file and was reloaded, move the new key to the top, and reload again.\n", o.File, id)
	return err
}

// appendSealKey appends lines to a file of keys, and returns how many keys it
// held before.
func appendSealKey(path, lines string) (before int, err error) {
	text, err := readSecretFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, err
	default:
		keys, err := parseSealKeys(path, text)
		if err != nil {
			return 0, err
		}
		before = len(keys)
		if text != "" && !strings.HasSuffix(text, "\n") {
			lines = "\n" + lines
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = io.WriteString(f, lines)
	if err == nil {
		err = f.Sync()
	}
	return before, errors.Join(err, f.Close())
}

// readSealKeys returns the keys of a file. The first seals, all open. Errors
// name the line, and hold no key.
func readSealKeys(path string) ([][]byte, error) {
	text, err := readSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s: sojournd keys new --seal --file %[1]s makes it", path)
	}
	if err != nil {
		return nil, err
	}
	keys, err := parseSealKeys(path, text)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%s holds no key: sojournd keys new --seal --file %[1]s appends one", path)
	}
	return keys, err
}

func parseSealKeys(path, text string) (keys [][]byte, err error) {
	lines := map[string]int{} // by key
	n := 0
	for line := range strings.Lines(text) {
		n++
		word := strings.TrimSpace(line)
		if word == "" || word[0] == '#' {
			continue
		}
		key, err := parseSealKey(word)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if first, twice := lines[string(key)]; twice {
			return nil, fmt.Errorf("%s:%d: this key is in line %d already: take one out", path, n, first)
		}
		lines[string(key)] = n
		keys = append(keys, key)
	}
	return keys, nil
}

func parseSealKey(word string) ([]byte, error) {
	text, ok := strings.CutPrefix(word, sealKeyPrefix)
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(key) != sealKeySize || [sealKeySize]byte(key) == [sealKeySize]byte{} {
		return nil, fmt.Errorf("no sealing key: write %s and 43 characters, as sojournd keys new --seal prints them", sealKeyPrefix)
	}
	return key, nil
}

// sealing returns the option for an application's engine, with the keys of its
// file. It is nil if no session is sealed.
func sealing(c *config.Sealed) (*sojourn.Sealing, error) {
	if c.For == "" {
		return nil, nil
	}
	keys, err := readSealKeys(c.KeysFile)
	return &sojourn.Sealing{Keys: keys, For: sealFor[c.For], AllNotBefore: time.Time(c.NotBefore)}, err
}

var sealFor = map[string]sojourn.SealFor{"visitors": sojourn.SealVisitors, "everyone": sojourn.SealEveryone, "nobody": sojourn.SealNobody}

// withFunctions returns the option with its functions. Two functions are never
// equal, so they aren't among the options that a reload compares. NotBefore ends no
// subject's sessions, because only the application knows its users.
func withFunctions(s *sojourn.Sealing, observe func(sojourn.Refusal, bool)) *sojourn.Sealing {
	if s == nil {
		return nil
	}
	whole := *s
	whole.NotBefore = func(context.Context, string) (time.Time, error) { return time.Time{}, nil }
	whole.Observe = observe
	return &whole
}

// sealKeyID names a key in comments and logs. It reveals nothing about the key.
func sealKeyID(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:4])
}
