package sqlitestore

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A statement keeps its arguments, whatever their types and lengths were in the
// run before.
func TestStatementArguments(t *testing.T) {
	c, err := connect(t.Context(), dsn(filepath.Join(t.TempDir(), "a b?#%.db")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing is at stake
	const query = "SELECT ?1, typeof(?1), ?2, typeof(?2)"
	long := strings.Repeat("long\x00", 100_000)
	for _, want := range [][]any{
		{"ä", "text", []byte("b"), "blob"},
		{"", "text", []byte{}, "blob"},
		{long, "text", []byte(long), "blob"},
		{nil, "null", int64(-1 << 63), "integer"},
		{"after", "text", "it", "text"},
	} {
		got, err := c.first(query, want[0], want[2])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.20q, %v", got, err)
		}
	}
	if _, err := c.first(query, "one"); err == nil {
		t.Error("an argument is missing, and the statement runs")
	}
	if _, err := c.exec("SELECT absent"); extendedCode(err) != 1 || !strings.Contains(err.Error(), "no such column") {
		t.Error(err)
	}
}
