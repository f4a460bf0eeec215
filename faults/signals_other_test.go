//go:build !unix

package faults

import "os"

// No process can be paused there, so the test fails.
var sigstop, sigcont = os.Kill, os.Kill
