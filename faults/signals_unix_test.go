//go:build unix

package faults

import (
	"os"
	"syscall"
)

var sigstop, sigcont os.Signal = syscall.SIGSTOP, syscall.SIGCONT
