package fibersessions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/fibersessions"
	"github.com/sojourn-go/sojourn/internal/movetest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var _ fiber.Storage = (*fibersessions.Storage)(nil)

func TestMoveTheStorageAlone(t *testing.T) {
	before := newStorage(t) // any other storage
	old, _ := oldShop(session.Config{Storage: before})
	storage := newStorage(t)
	storage.Old = before
	now, _ := oldShop(session.Config{Storage: storage})
	movetest.Site{Old: adaptor.FiberApp(old), New: adaptor.FiberApp(now), LastWins: true, Adopted: func() int64 { return movetest.Browsers }}.Run(t)

	v := &visitor{t, old, map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	twin := v.twin()
	twin.app = now
	id := v.cookies["session_id"]
	twin.want("POST", "/logout", 200, "")
	v.want("GET", "/cart", 200, "<nil> 0")
	if err := storage.Set(id, []byte("late"), time.Hour); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("a late save moved a session that had ended: %v", err)
	}
	if err := storage.Reset(); err != nil {
		t.Fatal(err)
	}
}

func newStorage(t *testing.T) *fibersessions.Storage {
	t.Helper()
	st := memstore.New()
	s, err := fibersessions.NewStorage(st, "fiber")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); st.Close() })
	return s
}

// What fiber's comments on Storage promise, and what its public suite demands. That
// suite (tck of gofiber/storage) can't be fetched as a module.
func TestStorageContract(t *testing.T) {
	s := newStorage(t)
	get := func(key string, want []byte) {
		t.Helper()
		if got, err := s.Get(key); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", key, got, err, want)
		}
	}
	set := func(key, val string, exp time.Duration) {
		t.Helper()
		if err := s.Set(key, []byte(val), exp); err != nil {
			t.Error(err)
		}
	}
	get("absent", nil)
	get("", nil)
	set("john", "doe", 0)
	get("john", []byte("doe"))
	set("john", "smith", time.Hour)
	get("john", []byte("smith"))
	binary := string([]byte{0, 255, 10, '"'})
	set("bin\x00ary\xff", binary, 0)
	get("bin\x00ary\xff", []byte(binary))
	set(strings.Repeat("k", 5000), strings.Repeat("v", 100<<10), 0)
	get(strings.Repeat("k", 5000), bytes.Repeat([]byte("v"), 100<<10))
	set("", "value", 0)
	set("no value", "", 0)
	get("no value", nil)
	get("John", nil) // keys differ by case
	for range 2 {
		if err := s.Delete("john"); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(s.Delete("never"), s.Delete("")); err != nil {
		t.Error(err)
	}
	get("john", nil)
	set("a", "1", time.Hour)
	set("b", "2", 0)
	if err := s.Reset(); err != nil {
		t.Error(err)
	}
	get("a", nil)
	get("b", nil)
	set("c", "3", 0) // in the same millisecond, perhaps
	get("c", []byte("3"))
	set("short", "x", time.Millisecond)
	for deadline := time.Now().Add(time.Minute); ; {
		if v, _ := s.Get("short"); v == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a value doesn't expire")
		}
	}
	if err := s.Set("huge", bytes.Repeat([]byte("v"), 2<<20), 0); err == nil {
		get("huge", bytes.Repeat([]byte("v"), 2<<20))
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.GetWithContext(cancelled, "c"); err == nil {
		t.Error("a cancelled Get answers")
	}
	if s.SetWithContext(cancelled, "c", []byte("4"), 0) == nil || s.DeleteWithContext(cancelled, "c") == nil || s.ResetWithContext(cancelled) == nil {
		t.Error("a cancelled write succeeds")
	}
	get("c", []byte("3"))
}

func TestStorageKeepsNoKey(t *testing.T) {
	st := memstore.New()
	s, err := fibersessions.NewStorage(st, "fiber")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("the secret ID", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	list, _, err := st.List(context.Background(), "fiber", store.ListOptions{Limit: 10, Now: store.TimeOf(time.Now()), Values: true})
	if err != nil || len(list) != 1 || strings.Contains(fmt.Sprintf("%+v %s", list[0], list[0].Values), "the secret ID") {
		t.Errorf("%+v %v", list, err)
	}
}

func TestStorageParallelSets(t *testing.T) {
	s := newStorage(t)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for j := range 8 {
				if err := s.Set(fmt.Sprint("key", j), []byte{byte(i)}, time.Hour); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for j := range 8 {
		if v, err := s.Get(fmt.Sprint("key", j)); err != nil || len(v) != 1 {
			t.Error(v, err)
		}
	}
}

// fiber's own middleware on the storage: a request in flight doesn't bring back
// a session that was destroyed.
func TestI4StorageRevivesNothing(t *testing.T) {
	storage := newStorage(t)
	app, _ := oldShop(session.Config{Storage: storage, ErrorHandler: func(c fiber.Ctx, err error) {
		_ = c.SendStatus(sojourn.StatusCode(err))
	}})
	read, save := make(chan bool), make(chan bool)
	app.Post("/late", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		s.Set("items", 100)
		read <- true
		<-save
		return nil
	})
	v := &visitor{t, app, map[string]string{}}
	v.want("POST", "/login?user=ada", 200, "")
	v.want("POST", "/add", 200, "")
	v.want("GET", "/cart", 200, "ada 1")
	late, over := v.twin(), make(chan bool)
	go func() { late.do("POST", "/late"); close(over) }()
	<-read
	v.twin().want("POST", "/logout", 200, "")
	save <- true
	<-over
	v.want("GET", "/cart", 200, "<nil> 0")
	if err := storage.Set("x", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(storage.Delete("x")); err != nil {
		t.Fatal(err)
	}
	if err := storage.Set("x", []byte("2"), 0); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("a deleted key was set again: %v", err)
	}
}
