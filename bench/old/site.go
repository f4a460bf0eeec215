package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
)

// An op is one thing that a request does in the application. Every contender has a handler of its own for each that it
// is measured with, written as its users write it.
type op int

const (
	// What a request costs. Each handler answers 200 if what it read is right.
	nothing     op = iota // answer, and ask the session nothing
	readSubject           // who is logged in
	readTheme             // one string
	readProfile           // a struct of three fields
	change                // another value for the string
	create                // a first string in a new session

	// What prepares a session, and checks it.
	login       // log subject in
	fillTwenty  // 20 keys, 2 KB together, the string among them
	fillProfile // the struct
	readChanged // the string is one that change wrote

	// What the races are made of.
	addItem   // add the query's "item" to the cart, think for 5 ms, answer
	readState // the session's state as JSON
	slowWrite // wait at the gate, then write
	elevate   // renew the token, as after a second factor
	rotate    // replace the secret and let the old one run out, where there is such a thing
	logout

	ops
)

var opNames = [ops]string{"nothing", "read-subject", "read-theme", "read-profile", "change", "create", "login", "fill-twenty",
	"fill-profile", "read-changed", "add-item", "state", "slow-write", "elevate", "rotate", "logout"}

func (o op) path() string { return "/" + opNames[o] }

func (o op) method() string {
	switch o {
	case nothing, readSubject, readTheme, readProfile, readChanged, readState:
		return "GET"
	}
	return "POST"
}

// The application's data.
const (
	subject = "user-0000042"
	theme   = "dark"
)

// profile is the struct of three fields.
type profile struct {
	Name  string
	Age   int
	Admin bool
}

var (
	someone = profile{"Ada Lovelace", 36, true}
	ok      = []byte("ok")
)

// twenty are the 19 keys that surround the string in a session of 20 keys and 2 KB; it lies in their middle by any order.
var twenty = func() (keys []string) {
	for i := range 19 {
		keys = append(keys, fmt.Sprintf("%c-preference-%02d", "az"[i%2], i))
	}
	return keys
}()

const twentyValue = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789abcdefghijklmn" // 87 bytes: 2 KB with the keys

// newTheme returns another string of the same length at almost every call, made in advance.
func newTheme() string { return newThemes[rand.Uint32()%uint32(len(newThemes))] }

func isNewTheme(s string) bool { return len(s) == len(newThemes[0]) }

var newThemes = func() (names [1024]string) {
	for i := range names {
		names[i] = fmt.Sprintf("theme-%04d", i)
	}
	return names
}()

// state is what readState tells of a session.
type state struct {
	Subject string   `json:"subject"`
	Level   int      `json:"level"` // 2 after elevate
	Theme   string   `json:"theme"` // what login and create leave in every session: shows that a token is good
	Late    string   `json:"late"`  // what slowWrite writes
	Cart    []string `json:"cart"`
}

func (s state) write(w io.Writer) { _ = json.NewEncoder(w).Encode(s) }

// A site is a contender's application, with a fresh store.
type site interface {
	supports(op) bool
	visitor() visitor
	listen(ctx context.Context) (url string, err error) // serves the application on a real connection until Close
	gate() *gate
	Close() error
}

// A visitor is a browser: it keeps the cookies it is given.
type visitor interface {
	// send runs op once, through the whole middleware. An answer other than 200 is an error.
	send(op) error
	// prepare returns a function that runs op with the visitor's present cookies, and returns the status of the answer. New
	// cookies are dropped. It does as little as it can beside calling the contender. Not for concurrent use.
	prepare(op) func() int
}

// A gate holds a handler in the middle of a request, for races.
type gate struct{ arrived, release chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

// wait is the handler's side.
func (g *gate) wait() {
	g.arrived <- struct{}{}
	<-g.release
}
