package servertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Server is a server process that can be stopped and started again, with the
// same directory and port.
type Server struct {
	name string
	dir  string // of all its files
	port int
	user *user // the user to run as; nil: this process's

	command func() *exec.Cmd // starts it
	answers func() error     // returns nil when it answers
	quit    syscall.Signal   // stops it properly
	orphan  syscall.Signal   // is sent to it when this process dies

	running *process
	paused  *pause
}

// A process runs, or has ended.
type process struct {
	*exec.Cmd
	exited chan struct{}
	err    error // of Wait; valid when exited is closed
}

// Port is the port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// Addr is the host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Dir is the directory of the server's files. Close removes it.
func (s *Server) Dir() string { return s.dir }

// PID is the process ID; 0 if the server doesn't run.
func (s *Server) PID() int {
	if s.running == nil {
		return 0
	}
	return s.running.Process.Pid
}

// Running reports whether the server runs. A server that ended by itself counts
// as stopped.
func (s *Server) Running() bool {
	if s.running == nil {
		return false
	}
	select {
	case <-s.running.exited:
		s.running = nil
		return false
	default:
		return true
	}
}

// newServer creates the directory of a server, in parent or in the directory
// for temporary files.
func newServer(name, parent string, user *user) (*Server, error) {
	dir, err := os.MkdirTemp(parent, "sojourn-"+name+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{name: name, dir: dir, user: user, quit: syscall.SIGTERM, orphan: syscall.SIGKILL}
	if user != nil {
		if err := os.Chown(dir, user.uid, user.gid); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// errPortTaken makes launch try another port.
var errPortTaken = errors.New("the port is taken")

// launch starts a server for the first time, on a free port. If the port is
// taken in the meantime, it tries another.
func (s *Server) launch(configure func() error) error {
	for try := 0; ; try++ {
		var err error
		if s.port, err = FreePort(); err != nil {
			return err
		}
		if err = configure(); err == nil {
			err = s.Start()
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, errPortTaken) || try == 5 {
			s.Close()
			return err
		}
	}
}

// Start starts a server that was stopped or killed, with the same port and
// files, and waits until it answers.
func (s *Server) Start() error {
	if s.running != nil {
		return fmt.Errorf("%s runs already", s.name)
	}
	log, err := os.OpenFile(s.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	seen, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := s.command()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	p, err := spawn(cmd, s.user, s.orphan)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.running = p
	err = eventually(s.name+" answers", func() error {
		select {
		case <-p.exited:
			return nil
		default:
			return s.answers()
		}
	})
	select {
	case <-p.exited:
		err = fmt.Errorf("%s ended at its start: %w", s.name, p.err)
		if b, _ := os.ReadFile(s.logName()); strings.Contains(string(b[min(int(seen), len(b)):]), "ddress already in use") {
			err = fmt.Errorf("%w: %w", err, errPortTaken)
		}
		s.running = nil
	default:
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.LogTail())
		_ = s.Kill() // it may not have started
	}
	return err
}

// Stop stops the server properly.
func (s *Server) Stop() error { return s.end(s.quit) }

// Kill ends the server with SIGKILL.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Restart stops the server properly and starts it.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start()
}

func (s *Server) end(signal syscall.Signal) error {
	if s.running == nil {
		return fmt.Errorf("%s doesn't run", s.name)
	}
	p := s.running
	if err := p.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if s.paused != nil { // a paused process handles only SIGKILL
		if err := s.Continue(); err != nil {
			return err
		}
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s didn't end on %v within %v, and was killed", s.name, signal, patience)
	}
	s.running = nil
	return nil
}

// Close kills the server and removes its files. A second Close does nothing.
func (s *Server) Close() {
	if s.running != nil {
		_ = s.Kill() // nothing can be done if that fails
	}
	_ = os.RemoveAll(s.dir)
}

func (s *Server) logName() string { return filepath.Join(s.dir, "log") }

// LogTail returns the last lines of the server's log.
func (s *Server) LogTail() string {
	b, _ := os.ReadFile(s.logName())
	lines := strings.SplitAfter(string(b), "\n")
	return "log of " + s.name + ":\n" + strings.Join(lines[max(0, len(lines)-40):], "")
}

// spawn starts a server's process.
func spawn(cmd *exec.Cmd, u *user, orphan syscall.Signal) (*process, error) {
	setAttributes(cmd, u, orphan)
	if err := startInSpawner(cmd); err != nil {
		return nil, err
	}
	p := &process{Cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Spawn starts a command, as cmd.Start does. On Linux the command is killed
// when this process dies. Spawn sets SysProcAttr.
func Spawn(cmd *exec.Cmd) error {
	setAttributes(cmd, nil, syscall.SIGKILL)
	return startInSpawner(cmd)
}

// startInSpawner starts a command from a thread that lives as long as this
// process. For Linux the parent of a process is a thread, and its death counts.
func startInSpawner(cmd *exec.Cmd) error {
	started := make(chan error)
	spawner <- func() { started <- cmd.Start() }
	return <-started
}

var spawner = func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
}()

// Listen listens on a port below those for outgoing connections. A client that
// calls a stopped server could otherwise get the server's port, and even connect
// to itself. Use it for a server that stops and starts again.
func Listen() (net.Listener, error) {
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(22_000))))
		if err == nil {
			return l, nil
		}
	}
	return nil, errors.New("found no free port on 127.0.0.1")
}

// FreePort returns such a port, on which nobody listens.
func FreePort() (int, error) {
	l, err := Listen()
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
