package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A header says where, when, with what and how the figures were made.
type header struct {
	CPU      string
	Cores    int
	Memory   string
	Go       string
	Versions []string
	Date     time.Time
	Command  string
}

func newHeader() header {
	h := header{
		CPU: cpuModel(), Cores: runtime.NumCPU(), Memory: memorySize(),
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Date: time.Now(), Command: command(),
	}
	var modules []string
	for _, c := range contenders {
		modules = append(modules, c.module)
	}
	modules = append(modules, "github.com/alexedwards/scs/sqlite3store", "modernc.org/sqlite",
		"github.com/redis/rueidis", "github.com/jackc/pgx/v5", "github.com/alexedwards/scs/goredisstore", "github.com/alexedwards/scs/pgxstore", "github.com/boj/redistore", "github.com/redis/go-redis/v9")
	for i, m := range modules {
		if m != "" && !slices.Contains(modules[:i], m) {
			h.Versions = append(h.Versions, strings.TrimPrefix(m, "github.com/")+" "+moduleVersion(m))
		}
	}
	return h
}

func command() string {
	s := "make bench"
	if len(os.Args) > 1 {
		s += ` ARGS="` + strings.Join(os.Args[1:], " ") + `"`
	}
	return s
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH + " CPU"
}

func memorySize() string {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			if kb, err := strconv.ParseFloat(f[1], 64); err == nil {
				return fmt.Sprintf("%.0f GiB of memory", kb/(1<<20))
			}
		}
	}
	return "memory unknown"
}

// fileName is that of the results: the day and the CPU, nothing else about the machine.
func (h header) fileName() string {
	var b strings.Builder
	for _, r := range strings.ToLower(h.CPU) {
		switch {
		case r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return filepath.Base(h.Date.Format(time.DateOnly) + "-" + strings.Trim(b.String(), "-") + ".md")
}

func (h header) String() string {
	return fmt.Sprintf("%s, %d cores, %s · %s · %s · %s · `%s`",
		h.CPU, h.Cores, h.Memory, h.Go, strings.Join(h.Versions, ", "), h.Date.Format(time.DateOnly), h.Command)
}
