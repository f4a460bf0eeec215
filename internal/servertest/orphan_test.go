//go:build linux

package servertest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

const orphanEnv = "SOJOURN_SERVERTEST_ORPHANS"

// TestMain may run as a process that starts servers, prints their process IDs,
// and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) == "" {
		os.Exit(m.Run())
	}
	r, err := servertest.StartRedis(servertest.RedisOptions{Dir: os.Getenv(orphanEnv)})
	if err == nil {
		err = r.Pause()
	}
	var p *servertest.PostgreSQLServer
	if err == nil {
		p, err = servertest.StartPostgreSQL(servertest.PostgreSQLOptions{Dir: os.Getenv(orphanEnv)})
	}
	if err == nil {
		err = p.Pause()
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(r.PID(), p.PID())
	select {}
}

// Servers die with the process that started them, whatever kills it, even if
// they are paused.
func TestOrphansDie(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-server", "postgres"} {
		servertest.Need(t, program)
	}
	dir, err := os.MkdirTemp("", "sojourn-orphans-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	defer os.RemoveAll(dir)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphanEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait()
	var redis, postgres int
	if _, err := fmt.Fscan(out, &redis, &postgres); err != nil {
		t.Fatal(err)
	}
	pids := []int{redis, postgres}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postgres, postgres))
	must(t, err)
	for f := range strings.FieldsSeq(string(list)) {
		var pid int
		fmt.Sscan(f, &pid)
		pids = append(pids, pid)
	}
	if len(pids) < 4 {
		t.Errorf("PostgreSQL has the children %q", list)
	}
	must(t, cmd.Process.Kill())
	for deadline := time.Now().Add(time.Minute); ; {
		var left []string
		for _, pid := range pids {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "Z") {
				left = append(left, string(stat))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, pid := range pids {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			t.Fatalf("still there: %q", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
