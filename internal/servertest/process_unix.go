//go:build unix

package servertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"strconv"
	"strings"
	"syscall"
)

// A user is the user of a server that refuses to run as root.
type user struct{ uid, gid int }

// unprivileged returns nil unless this process runs as root.
func unprivileged() (*user, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := osuser.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &user{uid, gid}, nil
		}
	}
	return nil, errors.New("there is no user postgres nor nobody to run the server as")
}

func setAttributes(cmd *exec.Cmd, u *user, orphan syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process only, which then ends the others
	if u != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	}
	dieWithParent(cmd.SysProcAttr, orphan)
}

// A pause stops a server's processes until its pipe is closed. A shell waits
// for that and continues them. The death of this process closes the pipe too.
type pause struct {
	shell *exec.Cmd
	pipe  *os.File
}

// Pause stops the server's processes by SIGSTOP. Connections stay open.
func (s *Server) Pause() error {
	if s.running == nil || s.paused != nil {
		return fmt.Errorf("%s doesn't run", s.name)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	pids := []int{s.PID()} // first, so that it starts no more children
	for i := 0; i < len(pids); i++ {
		if err := syscall.Kill(pids[i], syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			w.Close()
			return err
		}
		pids = append(pids, children(pids[i])...)
	}
	line := "read line; kill -CONT"
	for _, pid := range pids {
		line += " " + strconv.Itoa(pid)
	}
	shell := exec.Command("sh", "-c", line+" 2>/dev/null; true")
	shell.Stdin = r
	if err := shell.Start(); err != nil {
		w.Close()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return err
	}
	s.paused = &pause{shell, w}
	return nil
}

// Continue ends a Pause.
func (s *Server) Continue() error {
	if s.paused == nil {
		return fmt.Errorf("%s isn't paused", s.name)
	}
	p := s.paused
	s.paused = nil
	p.pipe.Close()
	return p.shell.Wait()
}

// children returns a process's children, if the system lists them.
func children(pid int) (pids []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for f := range strings.FieldsSeq(string(b)) {
		if child, err := strconv.Atoi(f); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// kill ends a process that is not a child of this one. It waits until the
// process is gone or a zombie.
func kill(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
		return nil
	} else if err != nil {
		return err
	}
	return eventually("a process ends", func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		if err != nil || strings.HasPrefix(state, "Z") {
			return nil //nolint:nilerr // there is no such process
		}
		return fmt.Errorf("%d runs", pid)
	})
}
