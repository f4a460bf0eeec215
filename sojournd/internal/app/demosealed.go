package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/shop"
	"github.com/sojourn-go/sojourn/store"
)

// demoSealing returns the option for the demo's sessions, nil if all are stored.
// The keys are in a file beside the accounts, or in memory if the accounts are.
// For is "visitors", "everyone" or empty.
func demoSealing(who string, users *shop.Users, usersPath string) (*sojourn.Sealing, error) {
	if who == "" {
		return nil, nil
	}
	keys, err := demoKeys(usersPath)
	return &sojourn.Sealing{Keys: keys, For: sealFor[who], NotBefore: users.NotBefore}, err
}

func demoKeys(usersPath string) ([][]byte, error) {
	if usersPath == "" {
		key := make([]byte, sealKeySize)
		_, _ = rand.Read(key) // never fails
		return [][]byte{key}, nil
	}
	path := demoKeysPath(usersPath)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := NewSealKey(SealKeyOptions{File: path, Out: io.Discard, Now: time.Now()}); err != nil {
			return nil, err
		}
	}
	return readSealKeys(path)
}

func demoKeysPath(usersPath string) string {
	return strings.TrimSuffix(usersPath, ".db") + "-seal-keys"
}

// demoStore returns the store for the demo's sessions: nil if all are sealed.
func demoStore(st store.Store, s *sojourn.Sealing) store.Store {
	if s != nil && s.For == sojourn.SealEveryone {
		return nil
	}
	return st
}

// sealedNote says where sealed sessions are.
func sealedNote(who, usersPath string) string {
	if who == "" {
		return ""
	}
	whose, key := "Visitors’ sessions are in their browsers’ cookies, and no store holds them until a sign-in", "a key that is gone when this ends"
	if who == "everyone" {
		whose = "All sessions are in their browsers’ cookies, and no store holds any"
	}
	if usersPath != "" {
		key = "the key in " + demoKeysPath(usersPath)
	}
	return fmt.Sprintf("  %s.\n  They are sealed with %s.\n\n", whose, key)
}
