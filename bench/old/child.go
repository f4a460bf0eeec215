package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// A job is what a child process does: memory and pauses are measured in a process of their own for each contender, since nothing
// else tells whose memory it is.
type job struct {
	Kind      string // "memory", "pause" or "opening"; "bare" and "crowd" go on until they are stopped
	Contender string
	Sessions  int
	Rotations int    `json:",omitempty"` // of every second session, where the contender rotates
	Path      string `json:",omitempty"` // of the file to open, or of a URL
	Cold      bool   `json:",omitempty"` // and nothing of it in the system's memory
	Address   string `json:",omitempty"` // of a server
	Key       string `json:",omitempty"` // of its API
}

// jobVariable is the environment variable that makes this program a child, with a job as JSON.
const jobVariable = "SOJOURN_BENCH_JOB"

// runJob runs a job in a child process, and passes on what it says about its progress.
func runJob(ctx context.Context, j job, result any, progress func(string)) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return err
	}
	var said []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "progress: "); ok {
			progress(fmt.Sprintf("%s, %s of %s sessions: %s", j.Kind, j.Contender, count(j.Sessions), line))
		} else {
			said = append(said, lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("bench: %s of %s: %w\n%s", j.Kind, j.Contender, err, strings.Join(said, "\n"))
	}
	return json.Unmarshal([]byte(out.String()), result)
}

// childMain does the job that the environment names, and writes its result.
func childMain(text string, stdout, stderr io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("bench: %s: %w", jobVariable, err)
	}
	progress := func(s string) { fmt.Fprintln(stderr, "progress: "+s) }
	switch j.Kind {
	case "bare":
		return serveBare(j.Address)
	case "crowd":
		return joinCrowd(j, stdout)
	}
	open, ok := vaults[j.Contender]
	if !ok {
		return errors.New("bench: no memory to measure in " + j.Contender)
	}
	var result any
	var err error
	switch j.Kind {
	case "memory":
		result, err = measureMemory(open, j, progress)
	case "pause":
		result, err = measurePause(open, j, progress)
	case "opening":
		result, err = measureOpening(j, progress)
	default:
		err = errors.New("bench: no job " + j.Kind)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(result)
}
