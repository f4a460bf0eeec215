package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A turnoverResult is what a day's sessions leave behind: many times as many come and go as live at once.
type turnoverResult struct {
	Live    int
	Through int
	First   int64 // bytes of the file and what lies beside it when so many lived for the first time, before the first expired
	Max     int64 // the most that it had during the day
	Last    int64
	Took    time.Duration
}

const (
	turnoverWriters = 128

	turnoverTimes = 10 // as many go through in a day as live
	turnoverDay   = 24 * time.Hour
	turnoverStep  = 10 * time.Minute // of the day between two sweeps; the engine sweeps more often, and each time less
)

// measureTurnover has a day's sessions created, and swept when they have expired, on a clock that runs as fast as the store can follow. Each lives for
// a tenth of the day; the first live ones come on the day before.
func measureTurnover(ctx context.Context, dir string, live int, say func(string)) (result turnoverResult, err error) {
	path, err := newStoreFile(dir, "turnover")
	if err != nil {
		return result, err
	}
	s, err := openFile(ctx, path)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.Close(), path.remove()) }()

	result = turnoverResult{Live: live, Through: live * turnoverTimes}
	life := turnoverDay / turnoverTimes
	steps := int(turnoverDay / turnoverStep)
	perStep := result.Through / steps
	first := int(life/turnoverStep) * perStep // as many as live
	at := func(i int) store.Time {
		return sampleStart.Add(time.Duration(i) * turnoverStep / time.Duration(perStep))
	}
	create := func(from, to int) error {
		return spread(ctx, from, to, turnoverWriters, func() func(int) error {
			var rec store.Record
			return func(i int) error {
				sampleRecord(&rec, i)
				rec.CreatedAt, rec.AuthenticatedAt, rec.LastSeenAt, rec.ExpiresAt = at(i), at(i), at(i), at(i).Add(life)
				rec.Idle = life
				_, err := s.Create(ctx, sampleApp, &rec, store.CreateOptions{Arrived: at(i), Now: at(i)})
				return err
			}
		})
	}
	start := time.Now()
	if err := create(0, first); err != nil {
		return result, err
	}
	if result.First, err = path.size(); err != nil {
		return result, err
	}
	for step := range steps {
		say(fmt.Sprintf("turnover: hour %d of %d", step*24/steps+1, 24))
		from := first + step*perStep
		if err := create(from, from+perStep); err != nil {
			return result, err
		}
		if _, err := sweepAll(ctx, s, at(from+perStep)); err != nil {
			return result, err
		}
		if result.Last, err = path.size(); err != nil {
			return result, err
		}
		result.Max = max(result.Max, result.Last)
	}
	result.Took = time.Since(start)
	return result, nil
}
