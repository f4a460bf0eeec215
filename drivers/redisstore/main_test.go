package redisstore

import (
	"os"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// One server and one cluster serve all tests that don't break them. Each test
// has its own prefix.
var (
	single  = sync.OnceValues(func() (*servertest.RedisServer, error) { return servertest.StartRedis(servertest.RedisOptions{}) })
	cluster = sync.OnceValues(func() (*servertest.RedisCluster, error) { return servertest.StartCluster(servertest.RedisOptions{}) })

	started struct {
		sync.Mutex
		servers []interface{ Close() }
	}
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range started.servers {
		s.Close()
	}
	os.Exit(code)
}

func shared[S interface{ Close() }](t testing.TB, start func() (S, error)) S {
	t.Helper()
	s, err := start()
	servertest.Check(t, err)
	started.Lock()
	defer started.Unlock()
	for _, other := range started.servers {
		if other == interface{ Close() }(s) {
			return s
		}
	}
	started.servers = append(started.servers, s)
	return s
}

// open returns an empty store on the shared server.
func open(t testing.TB, opt Options) *Store {
	t.Helper()
	return openAt(t, shared(t, single).URL(), opt)
}

func openAt(t testing.TB, url string, opt Options) *Store {
	t.Helper()
	if opt.Prefix == "" {
		opt.Prefix = "test-" + newNonce()
	}
	s, err := Open(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}
