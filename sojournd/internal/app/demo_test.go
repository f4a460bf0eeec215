package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is the output of a running demo.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRunDemo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out buffer
	ended := make(chan error, 1)
	go func() {
		ended <- RunDemo(ctx, Options{Listen: "127.0.0.1:0", Store: StoreOptions{URL: "memory:"}, Out: &out})
	}()

	deadline := time.After(20 * time.Second)
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		case <-deadline:
			t.Fatalf("printed only %q", out.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	url := regexp.MustCompile(`http://\S+`).FindString(out.String())
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // a test
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !strings.Contains(string(body), "Wayfare") {
		t.Errorf("%s, %v", res.Status, err)
	}

	// Now the port is in use.
	err = RunDemo(t.Context(), Options{Listen: strings.TrimPrefix(strings.Replace(url, "localhost", "127.0.0.1", 1), "http://"), Store: StoreOptions{URL: "memory:"}, Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "another program listens there") || !strings.Contains(err.Error(), "--listen 127.0.0.1:0") {
		t.Errorf("a taken port: %v", err)
	}

	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("doesn't end")
	}
}

func TestWrongOptions(t *testing.T) {
	for _, c := range []struct{ listen, store, want string }{
		{"127.0.0.1:0", "mysql://localhost", `no store of the kind "mysql"`},
		{"", "memory:", "host:port"},
		{"127.0.0.1", "memory:", "host:port"},
		{"127.0.0.1:x", "memory:", "from 0 to 65535"},
		{"127.0.0.1:65536", "memory:", "from 0 to 65535"},
		{"192.0.2.1:0", "memory:", "no address of this machine"},
		{"no such host:0", "memory:", "no address of this machine"},
	} {
		err := RunDemo(t.Context(), Options{Listen: c.listen, Store: StoreOptions{URL: c.store}, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("--listen %q --store %q: %v, want %q", c.listen, c.store, err, c.want)
		}
	}
}

func TestSiteURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:7080": "http://localhost:7080", "[::1]:80": "http://localhost:80", "127.0.0.2:1": "http://127.0.0.2:1",
		"0.0.0.0:7080": "http://localhost:7080", "[::]:7080": "http://localhost:7080",
		"192.0.2.1:7080": "http://192.0.2.1:7080", "[2001:db8::1]:1": "http://[2001:db8::1]:1",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		url, note := siteURL(a, false)
		if url != want {
			t.Errorf("%s: %s, want %s", address, url, want)
		}
		if local := strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "[::1]"); local != (note == "") {
			t.Errorf("%s: note %q", address, note)
		}
		if same, development := siteURL(a, true); same != url || (development == "") != (note == "") || development != "" && !strings.Contains(development, "can read the cookies") {
			t.Errorf("%s, in development mode: %s, note %q", address, same, development)
		}
	}
}
