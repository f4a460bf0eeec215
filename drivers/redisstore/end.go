package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

// End implements store.Store. The session's own bucket acknowledges the end;
// then the session leaves its subject's index.
func (s *Store) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if reason == "" {
		return nil, errNoReason
	}
	p := s.placeOf(app, id)
	o := s.runLasting(ctx, []call{endScript.call(p.endKeys(id, ""),
		"id", id.String(), "reason", quoteReason(reason), "at", itoa(at))})[0]
	err := s.writeError(o.err) // with an answer: too few replicas have the end
	if o.answer == nil {
		return nil, err
	}
	switch o.answer.text(0) {
	case "absent":
		return nil, store.ErrNotFound
	case "ended", "revoked":
		return nil, err
	}
	subject, damage := decodeSubject(o.answer.text(1))
	if damage != nil {
		return nil, keyError(p.session(id), damage)
	}
	s.leave(ctx, app, subject, memberOf(id, o.answer.text(2)))
	return []store.Ended{{App: app, ID: id, Subject: subject, Reason: reason, At: at}}, err
}

// EndSubject implements store.Store. It raises the barrier, which returns the
// members that joined before. Then each session ends in its bucket, or its write
// is barred if a login is under way. Then they leave the index.
func (s *Store) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	switch {
	case subject == "":
		return nil, errNoSubject
	case reason == "":
		return nil, errNoReason
	}
	if err := s.step("barrier"); err != nil {
		return nil, err
	}
	p := s.subjectPlace(app, subject)
	spared := ""
	if !except.IsZero() {
		spared = except.String()
	}
	barrier := s.runLasting(ctx, []call{barrierScript.call([]string{p.members(), p.barrier()},
		"at", itoa(at), "life_ms", millis(store.BarrierLife), "spared", spared)})[0]
	err := s.writeError(barrier.err)
	if err != nil && !errors.Is(err, errReplicas) {
		return nil, err
	}
	var members []string
	for _, text := range barrier.answer.texts(0) {
		if m, ok := parseMember(text); ok && (m.id != except || except.IsZero()) {
			members = append(members, text)
		}
	}
	if err := s.step("end the members"); err != nil {
		return nil, err
	}
	var ended []store.Ended
	var gone []string
	list, outcomes := s.settle(ctx, app, members, func(string) string { return "end" }, at, reason, s.runLasting)
	for i, o := range outcomes {
		what := o.answer.text(0)
		if what == "buried" {
			ended = append(ended, store.Ended{App: app, ID: list[i].id, Subject: subject, Reason: reason, At: at})
		}
		switch {
		case o.err != nil: // the member stays: a repeated call must find it and wait for its end
			err = worse(err, s.writeError(o.err))
		case what == "buried", what == "over", what == "blocked":
			gone = append(gone, list[i].member)
		}
	}
	s.leave(ctx, app, subject, gone...)
	if err != nil && !errors.Is(err, store.ErrUncertain) {
		err = fmt.Errorf("redisstore: EndSubject ended a part of the sessions only: %w: %w", store.ErrUncertain, err)
	}
	return ended, err
}

// EndAll implements store.Store: it sets a mark in each bucket, whatever the
// number of sessions. After an error some of the application's sessions may have
// ended; call it again.
func (s *Store) EndAll(ctx context.Context, app string, at store.Time) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	var err error
	failed := 0
	for _, o := range s.runLasting(ctx, s.inEachBucket(app, func(p place) call {
		return markScript.call([]string{p.mark(), p.goneAll()}, "at", itoa(at))
	})) {
		if o.err != nil {
			failed++
			err = worse(err, s.writeError(o.err))
		}
	}
	if failed > 0 && failed < buckets && !errors.Is(err, store.ErrUncertain) {
		return fmt.Errorf("redisstore: EndAll ended a part of the sessions only: %w: %w", store.ErrUncertain, err)
	}
	return err
}

// Barrier implements store.Store. EndAll sets the same mark in every bucket, so
// that of one bucket is enough.
func (s *Store) Barrier(ctx context.Context, app, subject string) (at store.Time, err error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	for _, o := range s.runAll(ctx, []call{
		raisedScript.call([]string{s.subjectPlace(app, subject).barrier()}, "what", "barrier"),
		raisedScript.call([]string{s.place(app, 0).mark()}, "what", "mark"),
	}) {
		if o.err != nil {
			return 0, s.readError(ctx, o.err)
		}
		at = max(at, store.Time(o.answer.number(0)))
	}
	return at, nil
}

func (s *Store) inEachBucket(app string, do func(place) call) []call {
	calls := make([]call, buckets)
	for i := range calls {
		calls[i] = do(s.place(app, i))
	}
	return calls
}
