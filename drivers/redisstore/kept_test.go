package redisstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/kept"
)

// Each set of keys that a version has written can be read and changed. The files
// hold the commands that write the keys, one JSON array in a line.
func TestKeysOfEveryVersion(t *testing.T) {
	const newest = "testdata/format-1.jsonl"
	if os.Getenv("SOJOURN_KEEP") != "" {
		keep(t, newest)
	}
	files, err := filepath.Glob("testdata/format-*.jsonl")
	if err != nil || !slices.Contains(files, newest) {
		t.Fatalf("there is no %s: %v", newest, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, Options{})
		for line := range bytes.Lines(text) {
			var command []string
			if err := json.Unmarshal(line, &command); err != nil {
				t.Fatal(err)
			}
			command[1] = s.prefix + strings.TrimPrefix(command[1], "kept")
			redis(t, s, command...)
		}
		if err := kept.Check(t.Context(), s, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// keep writes the file of this version.
func keep(t *testing.T, name string) {
	t.Helper()
	s := open(t, Options{})
	if err := kept.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	texts := func(answer any) (list []string) {
		for _, part := range answer.([]any) {
			list = append(list, fmt.Sprint(part))
		}
		return list
	}
	var out bytes.Buffer
	keys := texts(redis(t, s, "KEYS", s.prefix+":*"))
	slices.Sort(keys)
	for _, key := range keys {
		if place, ok := strings.CutPrefix(key, s.prefix+":mark"); ok && !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, s.prefix+":s"+place) }) {
			continue // of one of many empty buckets
		}
		command := []string{"", "kept" + strings.TrimPrefix(key, s.prefix)}
		switch kind := redis(t, s, "TYPE", key); kind {
		case "string":
			command[0] = "SET"
			command = append(command, fmt.Sprint(redis(t, s, "GET", key)))
		case "zset":
			command[0] = "ZADD"
			members := texts(redis(t, s, "ZRANGE", key, "0", "-1"))
			for _, member := range members {
				command = append(command, fmt.Sprint(redis(t, s, "ZSCORE", key, member)), member)
			}
		case "hash":
			command[0] = "HSET"
			fields := texts(redis(t, s, "HKEYS", key))
			for _, field := range fields {
				command = append(command, field, fmt.Sprint(redis(t, s, "HGET", key, field)))
			}
		default:
			t.Fatalf("%s is a %v, which this test can't keep", key, kind)
		}
		line, err := json.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
