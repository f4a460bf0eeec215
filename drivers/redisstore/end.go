package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

var (
	errNoReason  = errors.New("redisstore: a session ends for a reason")
	errNoSubject = errors.New("redisstore: EndSubject needs a subject")
)

// End implements store.Store. The end is acknowledged by the session's own bucket; then the session leaves its subject's index.
func (s *Store) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if reason == "" {
		return nil, errNoReason
	}
	p := s.placeOf(app, id)
	outcomes := s.runLasting(ctx, []call{{endScript,
		[]string{p.session(id), p.seen(id), p.mark(), p.in(), p.anon(), p.due(), p.gone(id)},
		[]string{id.String(), quoteReason(reason), itoa(at)}}})
	a, err := outcomes[0].answer, outcomes[0].err
	if a == nil {
		return nil, s.write(err)
	}
	err = s.write(err) // nil, or too few replicas
	switch a.text(0) {
	case "absent":
		return nil, store.ErrNotFound
	case "ended", "revoked":
		return nil, err
	}
	subject, wrong := decodeSubject(a.text(1))
	if wrong != nil {
		return nil, keyError(p.session(id), wrong)
	}
	s.leave(ctx, app, subject, memberOf(id, a.text(2)))
	return []store.Ended{{App: app, ID: id, Subject: subject, Reason: reason, At: at}}, err
}

// EndSubject implements store.Store. The barrier comes first, with the list of those that joined before; then each ends in
// its bucket, or, where a login is under way, its write is barred; then they leave the index.
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
	barrier := s.runLasting(ctx, []call{{barrierScript, []string{p.members(), p.barrier()},
		[]string{itoa(at), strconv.FormatInt(store.BarrierLife.Milliseconds(), 10), spared}}})
	a, err := barrier[0].answer, s.write(barrier[0].err)
	if err != nil && !errors.Is(err, errReplicas) {
		return nil, err
	}
	var members []string
	for _, text := range a.texts(0) {
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
		case o.err != nil:
			err = worse(err, s.write(o.err)) // the member stays: who asks again must find it, and wait for its end
		case what == "buried", what == "over", what == "blocked":
			gone = append(gone, list[i].member)
		}
	}
	s.leave(ctx, app, subject, gone...)
	if err != nil && !errors.Is(err, store.ErrUncertain) {
		err = fmt.Errorf("redisstore: EndSubject reached a part of the sessions only: %w: %w", store.ErrUncertain, err)
	}
	return ended, err // what has ended must be told
}

// EndAll implements store.Store: a mark in each bucket, whatever the number of sessions. If the error is store.ErrUncertain or
// another, some of the application's sessions may have ended; call it again.
func (s *Store) EndAll(ctx context.Context, app string, at store.Time) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	calls := make([]call, buckets)
	for i := range calls {
		p := s.place(app, i)
		calls[i] = call{markScript, []string{p.mark(), p.goneAll()}, []string{itoa(at)}}
	}
	var err error
	failed := 0
	for _, o := range s.runLasting(ctx, calls) {
		if o.err != nil {
			failed++
			err = worse(err, s.write(o.err))
		}
	}
	if failed > 0 && failed < buckets && !errors.Is(err, store.ErrUncertain) {
		return fmt.Errorf("redisstore: EndAll reached a part of the sessions only: %w: %w", store.ErrUncertain, err)
	}
	return err
}

// errReplicas is the cause of the uncertainty where a write reached too few replicas.
var errReplicas = errors.New("too few replicas have it in time")

// runLasting runs scripts, and waits for the replicas if the options ask for it: on the connection of each write, since Redis counts what the
// connection has written. An answer with an error was given before too few replicas had the write.
func (s *Store) runLasting(ctx context.Context, calls []call) []outcome {
	if s.opt.WaitReplicas <= 0 {
		return s.runAll(ctx, calls)
	}
	outcomes := make([]outcome, len(calls))
	var wg sync.WaitGroup
	next := make(chan int)
	const connections = 16
	for range min(connections, len(calls)) {
		wg.Go(func() {
			for i := range next {
				outcomes[i].answer, outcomes[i].err = s.runAndWait(ctx, &calls[i])
			}
		})
	}
	for i := range calls {
		next <- i
	}
	close(next)
	wg.Wait()
	return outcomes
}

// runAndWait is patient with a bucket that moves, as run is. The connection is one node's, and follows nobody who says that the bucket is elsewhere.
func (s *Store) runAndWait(ctx context.Context, c *call) (a answer, err error) {
	for try := 0; ; try++ {
		a, err = s.runAndWaitOnce(ctx, c)
		if a != nil || !hasCode(err, "MOVED") && !hasCode(err, "ASK") && !hasCode(err, "TRYAGAIN") || try == patience || !rest(ctx, try) {
			return a, err
		}
		_ = s.do(ctx, s.client.B().Exists().Key(c.keys[0]).Build()).Error() // follows, and the client remembers where to
	}
}

func (s *Store) runAndWaitOnce(ctx context.Context, c *call) (answer, error) {
	client, release := s.client.Dedicate()
	defer release()
	wait := func() rueidis.Completed {
		return client.B().Wait().Numreplicas(int64(s.opt.WaitReplicas)).Timeout(s.opt.WaitTimeout.Milliseconds()).Build()
	}
	results := client.DoMulti(ctx, s.command(c), wait())
	if noScript(results[0].Error()) {
		results = client.DoMulti(ctx, s.whole(c), wait())
	}
	a, err := s.answerOf(ctx, c, result{RedisResult: results[0]})
	if err != nil {
		return nil, err
	}
	n, err := results[1].AsInt64()
	switch {
	case err != nil:
		return a, fmt.Errorf("%w: %w", errReplicas, err)
	case n < int64(s.opt.WaitReplicas):
		return a, errReplicas
	}
	return a, nil
}
