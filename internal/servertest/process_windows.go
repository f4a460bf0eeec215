package servertest

import (
	"errors"
	"os/exec"
	"syscall"
)

type user struct{ uid, gid int }

func unprivileged() (*user, error) { return nil, nil }

func setAttributes(*exec.Cmd, *user, syscall.Signal) {}

type pause struct{}

// Pause is for Unix.
func (s *Server) Pause() error { return errors.ErrUnsupported }

// Continue is for Unix.
func (s *Server) Continue() error { return errors.ErrUnsupported }

func children(int) []int { return nil }

func kill(int) error { return errors.ErrUnsupported }
