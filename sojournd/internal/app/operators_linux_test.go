package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/term"
)

// Ctrl-C ends the question for a password. The terminal shows again what is typed.
func TestAddOperatorInterrupted(t *testing.T) {
	pipe, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() })
	for what, in := range map[string]*os.File{"pipe": pipe, "terminal": newTerminal(t)} {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		fd := int(in.Fd())
		before, noTerminal := term.GetState(fd)
		done := make(chan error, 1)
		go func() {
			done <- AddOperator(ctx, io.Discard, PasswordSource{In: in, Prompt: io.Discard}, "ada", false)
		}()
		if noTerminal == nil {
			for asks := false; !asks; runtime.Gosched() {
				now, err := term.GetState(fd)
				if err != nil {
					t.Fatal(err)
				}
				asks = !reflect.DeepEqual(now, before)
			}
		}
		interrupt()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%s: %v", what, err)
		}
		if after, err := term.GetState(fd); err == nil && !reflect.DeepEqual(after, before) {
			t.Errorf("%s: it doesn't show what is typed", what)
		}
	}
}

// newTerminal returns a terminal at which nobody types.
func newTerminal(t *testing.T) *os.File {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	var number, locked uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &locked} {
		if _, _, err := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(value))); err != 0 {
			t.Fatal(err)
		}
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal // a goroutine still reads it, so only the screen is closed
}
