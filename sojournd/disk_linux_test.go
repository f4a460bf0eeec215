package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// Another program fills the disk. Browsers can sign out, the operator can end
// all sessions, and /readyz and the metrics report it.
func TestFullDisk(t *testing.T) {
	dir := servertest.SmallDisk(t, 64<<20)
	s := startServe(t, "store: 'sqlite:"+filepath.Join(dir, "sessions.db")+"'\n")
	var tokens []string
	for i := range 60 {
		answer := s.ask("shop", "POST", "/v1/sessions/login", fmt.Sprintf(`{"subject": "user %d"}`, i), 200)
		tokens = append(tokens, answer["token"].(string))
	}
	ready := func(want string) {
		t.Helper()
		if status, _, body := s.look("/readyz", ""); status != 200 || !strings.HasPrefix(body, "ready\n") || !strings.Contains(body, want) {
			t.Errorf("/readyz: %d %q", status, body)
		}
	}
	flood := fill(t, dir)
	for _, token := range tokens[:50] {
		s.ask("shop", "POST", "/v1/sessions/logout", `{"token": "`+token+`"}`, 200)
	}
	s.ask("shop", "DELETE", "/v1/sessions?subject=user+50", "", 200)
	s.ask("shop", "DELETE", "/v1/sessions?all=true", "", 200)
	for _, token := range tokens {
		if answer := s.ask("shop", "POST", "/v1/sessions/resolve", `{"token": "`+token+`"}`, 200); answer["session"] != nil {
			t.Errorf("a session outlived its end: %v", answer)
		}
	}
	ready("full")
	if _, _, body := s.look("/metrics", ""); !strings.Contains(body, "\nsojourn_store_full 1\n") {
		t.Error("the metric doesn't tell that the disk is full")
	}
	if err := os.Remove(flood); err != nil {
		t.Fatal(err)
	}
	s.ask("shop", "POST", "/v1/sessions/login", `{"subject": "ann"}`, 200)
	if status, _, body := s.look("/readyz", ""); status != 200 || body != "ready\n" {
		t.Errorf("/readyz when there is room again: %d %q", status, body)
	}
}

// fill lets another program fill a disk completely.
func fill(t *testing.T, dir string) (name string) {
	t.Helper()
	name = filepath.Join(dir, "flood")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return name
}
