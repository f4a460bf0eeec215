package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckVisible(t *testing.T) {
	for _, url := range []string{
		"redis://:canary@host:6379/0", "redis://user:canary@host", "rediss://u:canary@[::1]:1/?x=y", "redis-cluster://u:canary@a:1,b:2",
		"postgres://u:canary@h/db", "postgresql://u:canary@h/db?sslmode=disable", "postgres://h/db?user=u&password=canary",
		"postgres://h/db?PASSWORD=canary", "postgres://u:can/ary@h/db", "postgres://u:can@ary@h/db", "postgres://h/db?sslpassword=canary",
		"redis://u:can?ary@host", "redis://:can/?ary@host/0", "postgres://u:can?ary@h:5432/db?sslmode=require", "postgres://u:can#ary@h/db",
		"host=h user=u password=canary dbname=db", "//u@h/db?password=canary",
	} {
		err := CheckVisible("--store", url)
		if err == nil || !strings.Contains(err.Error(), "--store-password-file") || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "can") && strings.Contains(err.Error(), "ary@") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"sqlite:", "sqlite:/a:b@c", "memory:", "", "redis://host:6379", "redis://user@host:6379/0", "postgres://u@h:5432/db?sslmode=require", "redis-cluster://a:1,b:2", "postgres://h:5432/db?user=u%40h"} {
		if err := CheckVisible("--store", url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestStorePassword(t *testing.T) {
	t.Setenv(StorePasswordVariable, "from the environment")
	file := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"secret\n": "secret", "secret": "secret", "a b\r\n": "a b", "": "is empty", "\n\n": "is empty", "two\nlines\n": "several lines"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := StoreOptions{PasswordFile: file}.password()
		if err != nil && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "lines\n") {
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if got, err := (StoreOptions{}).password(); err != nil || got != "from the environment" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := (StoreOptions{PasswordFile: file + "x"}).password(); err == nil || !strings.Contains(err.Error(), file+"x") {
		t.Error(err)
	}
}

func TestHostOf(t *testing.T) {
	for url, want := range map[string]string{
		"redis://host:6379/0": "host:6379", "redis://u:p@host": "host", "redis-cluster://u:p@a:1,b:2/?x": "a:1,b:2", "postgres://u:p@[::1]:5/db": "[::1]:5", "postgres:///db?host=/run": "",
		"redis://:hun#ter2@host:1/0": "host:1", "redis://u:hun?ter2@host": "host", "postgres://u:hun/ter2@host/db?x=y": "host", "postgres://u:hun@ter2@host/db": "host",
	} {
		if got := hostOf(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func TestOptionsOfOtherStores(t *testing.T) {
	for _, c := range []struct {
		o    StoreOptions
		want string
	}{
		{StoreOptions{URL: "memory:", PasswordFile: "x"}, "leave it out"},
		{StoreOptions{URL: "sqlite:" + filepath.Join(t.TempDir(), "s"), Feed: "postgres://h"}, "postgres:// only"},
		{StoreOptions{URL: "redis://127.0.0.1:1", CAFile: "x"}, "rediss://"},
		{StoreOptions{URL: "redis-cluster://127.0.0.1:1", CAFile: "x"}, "rediss-cluster://"},
	} {
		if _, err := openStore(t.Context(), c.o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
