package bench

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096     // of files and of the system
	logSize  = 64 << 20 // of a bare log
)

// A bareLog is the limit of every store that syncs: one goroutine appends what all
// waiting writers bring, syncs once, and acknowledges all. The file is written
// over and over, like the log of a database: its blocks exist, so a sync has
// nothing but the data to write.
type bareLog struct {
	file     *os.File
	at       int64
	most     int             // records in a group
	requests chan chan error // each is a record to write
	stopped  chan struct{}
}

// record is as long as a session of the samples in binary form.
var record = make([]byte, 340)

func openBareLog(dir string, most int) *bareLog {
	file := must(os.Create(filepath.Join(dir, "log")))
	for at := int64(0); at < logSize; at += pageSize {
		must(file.WriteAt(make([]byte, pageSize), at))
	}
	check(file.Sync())
	l := &bareLog{file: file, most: most, requests: make(chan chan error, most), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *bareLog) run() {
	defer close(l.stopped)
	for first := range l.requests {
		group, b := []chan error{first}, record
		for len(l.requests) > 0 && len(group) < l.most {
			group = append(group, <-l.requests)
			b = append(b[:len(b):len(b)], record...)
		}
		err := l.write(b)
		for _, done := range group {
			done <- err
		}
	}
}

// write returns when b is on disk.
func (l *bareLog) write(b []byte) error {
	if l.at+int64(len(b)) > logSize {
		l.at = 0
	}
	must(l.file.WriteAt(b, l.at))
	l.at += int64(len(b))
	for {
		if err := unix.Fdatasync(int(l.file.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writer returns the function of one goroutine that writes a record.
func (l *bareLog) writer() func() error {
	done := make(chan error, 1)
	return func() error {
		l.requests <- done
		return <-done
	}
}

func (l *bareLog) Close() error {
	close(l.requests)
	<-l.stopped
	return l.file.Close()
}

// bareLogSite writes a record for each session that is created or changed, and
// keeps nothing.
func bareLogSite(dir string, most int) site {
	l := openBareLog(dir, most)
	s := newHTTPSite()
	s.close = l.Close
	for _, o := range []op{create, change} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			err := l.writer()()
			writeAnswer(w, ok, err)
		})
	}
	return s
}
