package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The end closes connections without a request. A request in flight keeps its
// connection, even if it is the first one on it.
func TestFreshConnsSpareRequests(t *testing.T) {
	t.Parallel()
	var fresh freshConns
	entered, leave := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Config.ConnState = fresh.note
	server.Start()
	defer server.Close()
	unused, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	answered := make(chan error, 1)
	go func() {
		res, err := server.Client().Post(server.URL, "", nil) // a GET would be sent again
		if err == nil {
			err = res.Body.Close()
		}
		answered <- err
	}()
	<-entered
	fresh.wait(0)
	if _, err := unused.Read(make([]byte, 1)); err == nil {
		t.Error("the connection without a request was answered")
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Error("the request in flight: ", err)
	}
}
