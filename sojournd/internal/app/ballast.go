package app

import "runtime"

// ballastSize is the size of the ballast. It is never touched, so it uses only
// address space.
const ballastSize = 32 << 20

// ballast delays the garbage collector until the heap has about 64 MiB. The
// collector runs when the heap has doubled. The server's heap has only a few
// megabytes, because sessions are outside of it: at 50,000 checks a second the
// collector would take a fifth of the CPU. GOMEMLIMIT counts the ballast as
// used. The ballast exists until release is called.
func ballast() (release func()) {
	b := make([]byte, ballastSize)
	return func() { runtime.KeepAlive(b) }
}
