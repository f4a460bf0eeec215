package driver_test

import (
	"errors"
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

func TestCursor(t *testing.T) {
	id := store.ID{1, 15: 255}
	all, anns := store.ListOptions{Limit: 1}, store.ListOptions{Subject: "ann", Limit: store.MaxPage}
	for _, opt := range []store.ListOptions{all, anns} {
		if after, err := driver.After(opt); !after.IsZero() || err != nil {
			t.Errorf("the first page: %v, %v", after, err)
		}
		opt.Cursor = driver.Cursor(opt, id)
		if after, err := driver.After(opt); after != id || err != nil {
			t.Errorf("%s: %v, %v", opt.Cursor, after, err)
		}
	}
	of := func(opt store.ListOptions, cursor string, limit int) store.ListOptions {
		opt.Cursor, opt.Limit = cursor, limit
		return opt
	}
	good := driver.Cursor(all, id)
	for _, opt := range []store.ListOptions{
		of(all, "", 0), of(all, "", -1), of(anns, "", store.MaxPage+1), of(all, good, 0), of(anns, good, 1), of(all, driver.Cursor(anns, id), 1),
		of(all, "a", 1), of(all, good[:32], 1), of(all, good+"00", 1), of(all, good[:32]+"x", 1), of(all, good[1:], 1), of(all, "\xff"+good[1:], 1),
	} {
		if after, err := driver.After(opt); !errors.Is(err, store.ErrCursor) || !after.IsZero() {
			t.Errorf("%+v: %v, %v", opt, after, err)
		}
	}
}
