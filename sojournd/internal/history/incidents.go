package history

import (
	"slices"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A Kind says what went wrong.
type Kind int

const (
	Theft    Kind = iota // a session ended because its token was stolen
	Guessing             // an address is guessing tokens
	Limit                // a subject has as many sessions as it may, and got no new one
	Store                // the store did not answer
	kinds    = 4
)

const (
	// Keep is how long an incident is kept after it happened last.
	Keep = 24 * time.Hour

	most = 100 // of one kind, of an application

	// quiet is the time without a repeat after which an incident is over. The next
	// one is new.
	quiet = time.Hour
)

// An Incident is something that went wrong, once or several times in a row:
// with one session (Theft), address (Guessing), subject (Limit), or method of
// the store (Store).
type Incident struct {
	Kind             Kind
	First, Last      time.Time // UTC
	Count            int
	Session, Subject string         // empty: not known, or none
	Client           sojourn.Client // of the last time; zero if not known
	Call             string         // of the store
}

func (i *Incident) same(o *Incident) bool {
	switch i.Kind {
	case Theft:
		return i.Session == o.Session
	case Guessing:
		return i.Client.IP == o.Client.IP
	case Limit:
		return i.Subject == o.Subject
	}
	return i.Call == o.Call
}

type incidents struct {
	mu    sync.Mutex                    // guards all below
	byApp map[string]*[kinds][]Incident // each list by Last, the newest last; "" is the node
}

func (l *incidents) keep(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.byApp {
		if name != "" && !slices.Contains(names, name) {
			delete(l.byApp, name)
		}
	}
}

func (l *incidents) add(k Kind, name string, in Incident) {
	in.Kind, in.Last, in.Count = k, in.Last.UTC(), 1
	in.First = in.Last
	l.mu.Lock()
	defer l.mu.Unlock()
	lists := l.byApp[name]
	if lists == nil {
		lists = new([kinds][]Incident)
		l.byApp[name] = lists
	}
	list := lists[k]
	for i := len(list) - 1; i >= 0 && in.Last.Sub(list[i].Last) < quiet; i-- {
		if list[i].same(&in) {
			in.First, in.Count = list[i].First, list[i].Count+1
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	lists[k] = append(list, in)
}

// Incidents returns what went wrong in the last day with an application, or,
// for an empty name, with the node's store. The newest come first, at most a
// hundred of each kind.
func (r *Recorder) Incidents(name string) (list []Incident) {
	since := r.opt.Now().Add(-Keep)
	l := &r.incidents
	l.mu.Lock()
	defer l.mu.Unlock()
	if lists := l.byApp[name]; lists != nil {
		for _, one := range lists {
			for _, in := range one {
				if in.Last.After(since) {
					list = append(list, in)
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Incident) int { return b.Last.Compare(a.Last) })
	return list
}
