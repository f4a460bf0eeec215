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

// AuditFile is the path of the audit log, and how much of it is kept.
type AuditFile struct {
	Path     string        // absolute; the directory must exist
	MaxBytes int64         // a larger file is renamed, with the time; default 100 MiB, rounded up to MiB
	MaxFiles int           // how many renamed files are kept; 0: all
	MaxAge   time.Duration // how long they are kept, rounded up to days; 0: no limit
	Compress bool          // compress renamed files with gzip
}

// OpenAudit opens the audit log. Only the owner can read the file. One process
// at a time may write to it. Lines survive a crash of the process. They are not
// synced to disk one by one, so a crash of the machine may lose the last
// seconds.
func OpenAudit(f AuditFile) (io.WriteCloser, error) {
	if !filepath.IsAbs(f.Path) {
		return nil, fmt.Errorf("events: the path %q of the audit log must be absolute", f.Path)
	}
	if err := CheckAudit(f.Path); err != nil {
		return nil, fmt.Errorf("events: open the audit log: %w", err)
	}
	// timberjack opens the file only at the first line, and would create
	// directories.
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

// CheckAudit returns an error if a file is there and is no audit log. Lines at its
// end would damage it, and one day it would be renamed.
func CheckAudit(path string) error {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil //nolint:nilerr // nothing to damage
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	begin := make([]byte, 1)
	if _, err := io.ReadFull(f, begin); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if begin[0] != '{' {
		return fmt.Errorf("%s holds something other than an audit log: name a file of its own", path)
	}
	return nil
}

// An Operation is an entry of the audit log for a call of the API, or for what an
// operator did in the console.
type Operation struct {
	Time     time.Time `json:"time"`
	App      string    `json:"app,omitempty"` // empty: no application, as in a sign-in to the console
	Kind     string    `json:"kind"`          // "operation"
	Key      string    `json:"key,omitempty"` // the name of the API key
	Operator string    `json:"operator,omitempty"`
	Action   string    `json:"action"` // "end", "end_subject", "end_all", …
	Target   string    `json:"target,omitempty"`
	Reason   string    `json:"reason,omitempty"` // in the operator's words
	Result   string    `json:"result"`           // "ok", or a problem's code
	IP       string    `json:"ip,omitempty"`
}

// Operated writes an operation of an API key to the audit log. Subscribers and
// webhooks get only the events that follow from it.
func (h *Hub) Operated(app, key, action, target, result, ip string) {
	h.Audit(Operation{App: app, Key: key, Action: action, Target: target, Result: result, IP: ip})
}

// Audit writes an operation to the audit log, with the present time.
func (h *Hub) Audit(o Operation) {
	if h.audit == nil {
		return
	}
	o.Time, o.Kind = time.Now().UTC(), "operation"
	line, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and a time can always be encoded
	}
	h.writeAudit(line)
}

// writeAudit never fails the operation that it records. It logs when lines
// begin to be lost, and when writing works again.
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
