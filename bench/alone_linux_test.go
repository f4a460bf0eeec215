package bench

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

const aloneVariable = "SOJOURN_BENCH_ALONE"

// alone measures in a process of its own, because nothing else tells whose memory
// it is. The benchmark reports what that process reports.
func alone(b *testing.B, measure func(b *testing.B)) {
	if os.Getenv(aloneVariable) != "" {
		measure(b)
		return
	}
	exe := must(os.Executable())
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(b.Name()), "/", "$/^") + "$"
	cmd := exec.Command(exe, "-test.run=^$", "-test.benchtime=1x", "-test.cpu="+strconv.Itoa(runtime.GOMAXPROCS(0)),
		"-test.bench="+pattern, "-test.short="+strconv.FormatBool(testing.Short()))
	cmd.Env = append(os.Environ(), aloneVariable+"=1", "BENCH_DIR="+workDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	found := false
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, b.Name()) {
			continue
		}
		fields := strings.Fields(line)
		for i := 2; i+1 < len(fields); i += 2 { // after the name and the iterations
			value := must(strconv.ParseFloat(fields[i], 64))
			b.ReportMetric(value, fields[i+1])
			found = true
		}
	}
	if !found {
		b.Fatalf("the process reports nothing:\n%s", out)
	}
	b.ReportMetric(0, "ns/op")
}

// processMemory returns the resident memory of a process, and the most that it
// has been, in bytes.
func processMemory(pid string) (resident, peak float64) {
	text := must(os.ReadFile("/proc/" + pid + "/status"))
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			resident = kilobytes * 1024
		case "VmHWM":
			peak = kilobytes * 1024
		}
	}
	return resident, peak
}

// settledMemory returns this process's resident memory after everything that is
// free was returned to the system.
func settledMemory() float64 {
	for range 2 {
		runtime.GC()
		debug.FreeOSMemory()
	}
	resident, _ := processMemory("self")
	return resident
}
