// Package sojourn keeps web sessions for net/http.
//
// A session is the server's memory of one browser. It starts when a handler
// first stores something for a visitor, or logs a user in. A token in a cookie
// names it. It ends by logout, by revocation, or when a deadline passes, and
// then it stays ended. A visitor who stores nothing has no session, no cookie
// and costs no access to the store.
//
// A whole program:
//
//	package main
//
//	import (
//		"fmt"
//		"log"
//		"net/http"
//
//		"github.com/sojourn-go/sojourn"
//		"github.com/sojourn-go/sojourn/store/memstore"
//	)
//
//	var visits = sojourn.NewKey[int]("visits")
//
//	func main() {
//		sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
//		log.Fatal(http.ListenAndServe("localhost:8080", sessions.Handler(http.HandlerFunc(hello))))
//	}
//
//	func hello(w http.ResponseWriter, r *http.Request) {
//		s := sojourn.From(r.Context())
//		if err := visits.Update(s, func(n *int) error { *n++; return nil }); err != nil {
//			sojourn.Error(w, r, err)
//			return
//		}
//		n, _ := visits.Get(s)
//		fmt.Fprintf(w, "Visit %d.\n", n)
//	}
//
// # Values
//
// Declare a [Key] for each value, once, at package level. [Key.Get] and
// [Key.Set] read and store it as JSON. Use [Key.Update] if the new value
// depends on the old one: parallel updates all land. [Key.Pop] takes a value
// that counts once, such as a flash message. The request's changes are
// written together, before the first byte of the response. If that fails, the
// client gets the error in place of the response. So there is nothing to call
// at the end of a handler. Call [Session.Commit] before a side effect that
// can't be undone.
//
// # Login and logout
//
// When the application has checked a user's password, call [Session.Login]. The
// session keeps its values and gets a new secret, which prevents session
// fixation. [Remember] keeps the user signed in for longer, [WithLifetime] for a
// shorter time, and [UntilBrowserCloses] until the browser closes.
// [Session.Logout] ends the session; [Session.Regenerate] ends it and goes on in a
// new one. [Session.EndReason] tells why the session of a returning visitor is
// over.
//
// A [Requirement] guards routes: its Handler lets signed-in users pass, and
// sends the others to a sign-in page that gets the way back.
//
// # Step-up
//
// [Session.Fresh] reports whether the user authenticated lately. Ask it before
// an action that a thief of the session must not take, or wrap the route in a
// [Requirement] with Fresh. If it is false, ask for the password.
// [Session.Elevate] records a second factor and raises the [Session.Level].
//
// # Ends
//
// [Engine.List] returns a user's sessions, for a page of devices.
// [Engine.EndOwn] ends one of them. [Engine.EndSubject] ends all of them, or
// all except one. [Engine.EndAll] ends the sessions of all users. An end is
// final: no request in flight brings a session back. [Options.OnEvent] receives
// an event for every end and every stolen cookie.
//
// # Streams
//
// A handler of a WebSocket or of server-sent events may outlive its session.
// [Session.Done] returns a channel that is closed when the session ends, on any
// node. [Session.Active] makes a message count as activity. Call
// [Session.Passive] in handlers that a page polls, or the page keeps its session
// from ever being idle.
//
// # Many nodes
//
// Engines on several nodes share a store: the modules drivers/redisstore and
// drivers/pgstore keep sessions in Redis and PostgreSQL. Package nearcache puts
// a bounded memory in front of them. A change reaches the memory of every node
// within milliseconds. A node that gets no heartbeat through the store for a
// second stops using its memory, and reads the store instead. Routes that must
// see every end at once go inside [Strict].
//
// # Stores
//
// Package memstore keeps sessions in memory, for tests and for one process that
// may lose them. The module drivers/sqlitestore keeps them in a file. Package
// store is the contract, for those who write another one.
//
// # Sealed sessions
//
// [Options.Sealed] keeps sessions in their cookies, encrypted, in place of a
// store: those of visitors, or all ([SealEveryone], where the store may be nil).
// Some guarantees need a store. The table says which hold: yes, in part, or no.
// docs/security.md says in which part.
//
//	                                              stored  sealed visitors  sealed everyone
//	I1  no secret at rest or in sight             yes     yes              yes
//	I2  unknown tokens are anonymous              yes     yes              yes
//	I3  a login or elevation kills the old token  yes     in part          in part
//	I4  an end is final                           yes     in part          in part
//	I5  no update is lost                         yes     no               no
//	I6  what was answered is stored               yes     in part          in part
//	I7  the engine decides expiry                 yes     yes              yes
//	I8  strangers cost nothing                    yes     yes              yes
//	I9  a failure is never "anonymous"            yes     yes              yes
//	I10 an end reaches every node                 yes     in part          in part
//	I11 everything is bounded                     yes     yes              in part
//	I12 theft shows                               yes     no               no
//	I13 no stale authority                        yes     in part          no
//	I14 late answers do little harm               yes     in part          no
//
// # Bearer tokens
//
// Programs that keep no cookies present their token in the header
// Authorization. Set [Options.Bearer], log in with [AsBearer], and hand out
// [Session.Token] after the commit.
//
// # Errors
//
// Answer with [Error]: it chooses the status and shows the visitor no internal
// details. Compare errors with errors.Is. If the store can't answer, the error
// is [ErrUnavailable]: a failure never looks like an anonymous visitor.
//
// # Tests
//
// Package sojourntest gives a handler's test a request of a user who is signed
// in, a clock, and the events.
//
// # Without net/http
//
// Servers with another interface call [Engine.Begin], [Session.Commit] and
// [Session.Finish] for each request.
package sojourn
