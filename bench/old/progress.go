package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// progress says what is going on: on a terminal in one line, elsewhere a line for each new thing and every ten seconds.
type progress struct {
	mu       sync.Mutex
	out      *os.File
	terminal bool
	last     string
	said     time.Time
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) say(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, "\r\033[K", s)
		p.last = s
		return
	}
	what, _, _ := strings.Cut(s, ":")
	if what == p.last && time.Since(p.said) < 10*time.Second {
		return
	}
	p.last, p.said = what, time.Now()
	fmt.Fprintln(p.out, s)
}

// done ends the line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.last != "" {
		fmt.Fprint(p.out, "\r\033[K")
	}
	p.last = ""
}
