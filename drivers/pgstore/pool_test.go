package pgstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/store/overload"
)

// TestPoolTellsLateComers: a connection fails before the call that wanted it
// waits in line. The call still gets the error.
func TestPoolTellsLateComers(t *testing.T) {
	config, err := parse("postgres://localhost/shop", &Options{Timeout: DefaultTimeout})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		gate := overload.NewGate(int(config.MaxConns), DefaultTimeout)
		p := newPool(config, gate, func(context.Context) (*pgx.Conn, error) { return nil, refused })
		defer p.close()
		p.want()
		synctest.Wait() // it was refused
		ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout)
		defer cancel()
		if _, err := gate.Enter(ctx); !errors.Is(err, refused) {
			t.Errorf("the error is %v", err)
		}
		p.came()
	})
}
