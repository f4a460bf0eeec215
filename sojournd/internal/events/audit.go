package events

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
)

// AuditFile says where the audit log is, and how much of it is kept.
type AuditFile struct {
	Path     string        // absolute; its directory must be there
	MaxBytes int64         // a larger file is put aside under a name with the time; default 100 MiB, rounded up to whole MiB
	MaxFiles int           // how many of those are kept; 0: all
	MaxAge   time.Duration // how long they are kept, rounded up to days; 0: for ever
	Compress bool          // those that were put aside, by gzip
}

// OpenAudit opens the audit log, or says why it can't be written. The file is for its owner only. One process at a time may write to it. What was
// written survives the process, and since it isn't synced to disk for each line, the last seconds may be lost when the machine fails.
func OpenAudit(f AuditFile) (io.WriteCloser, error) {
	if !filepath.IsAbs(f.Path) {
		return nil, fmt.Errorf("events: the audit log %q must be absolute, since a server's working directory is an accident", f.Path)
	}
	// The library opens the file at the first line only, and makes directories with modes of its own.
	file, err := os.OpenFile(f.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("events: open the audit log: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("events: open the audit log: %w", err)
	}
	const day = 24 * time.Hour
	l := &timberjack.Logger{
		Filename: f.Path, FileMode: 0o600, BackupTimeFormat: "2006-01-02T15-04-05.000",
		MaxSize: int((f.MaxBytes + 1<<20 - 1) >> 20), MaxBackups: f.MaxFiles, MaxAge: int((f.MaxAge + day - 1) / day),
	}
	if f.Compress {
		l.Compression = "gzip"
	}
	return l, nil
}

// An Operation is something that an operator or an application had the server do, for the audit log.
type Operation struct {
	Time   time.Time `json:"time"`
	App    string    `json:"app"`
	Kind   string    `json:"kind"`   // "operation"
	Key    string    `json:"key"`    // the name of the API key
	Action string    `json:"action"` // "end", "end_subject", "end_all", …
	Target string    `json:"target,omitempty"`
	Result string    `json:"result"` // "ok", or a problem's code
	IP     string    `json:"ip,omitempty"`
}

// Operated writes an operation to the audit log. Subscribers and webhooks don't get it: they see what came of it.
func (h *Hub) Operated(app, key, action, target, result, ip string) {
	if h.audit == nil {
		return
	}
	line, err := json.Marshal(Operation{time.Now().UTC(), app, "operation", key, action, target, result, ip})
	if err != nil {
		panic(err) // strings and a time of this age
	}
	h.writeAudit(line)
}

// writeAudit never fails what it tells of. It says so once when lines are lost, and again when that is over.
func (h *Hub) writeAudit(line []byte) {
	if h.audit == nil {
		return
	}
	_, err := h.audit.Write(append(line[:len(line):len(line)], '\n'))
	switch broken := h.auditBroken.Swap(err != nil); {
	case err != nil:
		h.auditErrors.Add(1)
		if !broken {
			h.log.Error("the audit log can't be written: events are missing from it", "error", err)
		}
	case broken:
		h.log.Info("the audit log is written again", "missing", h.auditErrors.Load())
	}
}
