// Package simulator holds tests: simulated browsers, their users and thieves
// check the rules of rotation in section 3 of DESIGN.md by their purpose. No
// honest browser may look like theft. Each logout has a reason that the
// simulator can name. A thief is noticed. In most worlds sessions are bound to
// their browsers: no honest browser that can prove itself is refused, and a thief
// of all cookies has a proof's life.
//
// It is a discrete-event simulation: one goroutine, its own clock, a heap of
// events, and a random source. A failed run prints its seed, which repeats it.
// The engine is the real one, called through Begin, Load and Commit. One or two
// nodes share a memstore, and take turns.
//
// A world (world_test.go) holds a few browsers for some hours or days.
// browser_test.go and request_test.go decide what happens to the browsers'
// requests and what their users do; bound_test.go what browsers with Device Bound
// Session Credentials do besides. thief_test.go adds thieves and vandals.
// truth_test.go records what is true about each session and token,
// independently of the engine.
package simulator
