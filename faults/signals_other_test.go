//go:build !unix

package faults

import "os"

// A process can't be paused there, so the test fails.
var sigstop, sigcont = os.Kill, os.Kill
