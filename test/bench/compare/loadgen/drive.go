package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

const (
	// Of so many answers one is verified in full.
	sampleOneIn = 50
	// Calls under way at once with a fixed rate; more are a server that cannot keep up.
	mostUnderWay = 20_000
	// Arrivals come at random moments, and at the same ones at every server.
	arrivalSeed = 6
	// How long a call may be under way after the clock has stopped.
	longestCall = 30 * time.Second
)

var errLate = fmt.Errorf("calls were under way %s after the clock had stopped", longestCall)

// A tally is what the calls of one run came to while the clock ran.
type tally struct {
	mu      sync.Mutex
	times   []time.Duration
	svids   int
	failed  map[string]int
	samples []check
	broken  error
}

func (t *tally) add(took time.Duration, svids int, later check, err error) {
	sampled := rand.IntN(sampleOneIn) == 0
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed[status.Code(err).String()]++
		return
	}
	t.times = append(t.times, took)
	t.svids += svids
	if sampled || len(t.samples) == 0 {
		t.samples = append(t.samples, later)
	}
}

// begun says whether any call has ended since the clock runs.
func (t *tally) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.times) > 0 || len(t.failed) > 0
}

// carryOut measures what was ordered: the clock and the CPU accounts are read together, and answers verified after.
func (w *world) carryOut(ctx context.Context, wanted order, pid int) (*finding, error) {
	calls, err := w.callsFor(wanted)
	if err != nil {
		return nil, err
	}
	// Calls are due from here on; those due before the clock runs warm up.
	opens := time.Now().Add(seconds(wanted.Warmup))
	closes := opens.Add(seconds(wanted.Seconds))
	ctx, done := context.WithDeadlineCause(ctx, closes.Add(longestCall), errLate)
	defer done()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{calls: calls, tally: &tally{failed: map[string]int{}}, stop: stop}
	var whole sync.WaitGroup
	whole.Go(func() {
		if wanted.Rate > 0 {
			r.atRate(ctx, wanted.Rate, opens, closes)
		} else {
			r.underWay(ctx, wanted.Inflight, opens)
		}
	})
	took, used, err := r.clock(ctx, opens, closes, pid)
	if err != nil {
		stop(err)
	}
	whole.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return w.conclude(ctx, r.tally, took, used)
}

// clock reads the accounts at both ends of the measured time. That is longer than ordered where no call ended in it: large
// batches at a slow machine.
func (r *run) clock(ctx context.Context, opens, closes time.Time, pid int) (time.Duration, accounts, error) {
	if err := until(ctx, opens); err != nil {
		return 0, accounts{}, err
	}
	began := time.Now()
	before, err := readAccounts(pid)
	if err != nil {
		return 0, accounts{}, err
	}
	for moment := closes; moment.Equal(closes) || !r.tally.begun(); moment = moment.Add(10 * time.Millisecond) {
		if err := until(ctx, moment); err != nil {
			return 0, accounts{}, err
		}
	}
	r.over.Store(true)
	after, err := readAccounts(pid)
	return time.Since(began), after.minus(before), err
}

func (w *world) conclude(ctx context.Context, t *tally, took time.Duration, used accounts) (*finding, error) {
	if len(t.times) == 0 {
		return nil, fmt.Errorf("no call succeeded: %v", t.failed)
	}
	// Asked for now: authorities may have been rotated meanwhile.
	bundle, err := w.bundle(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, verify := range t.samples {
		identities, err := verify(bundle)
		if err != nil {
			return nil, err
		}
		for _, identity := range identities {
			if seen[identity] {
				return nil, wrong("the same SVID was given twice")
			}
			seen[identity] = true
		}
	}
	slices.Sort(t.times)
	return &finding{
		Calls: len(t.times), Svids: t.svids, Failed: t.failed, Verified: len(seen), Seconds: took.Seconds(),
		ServerCPU: used.server, OwnCPU: used.own, BusyCPU: used.busy, StolenCPU: used.stolen,
		P50: quantile(t.times, 0.5), P99: quantile(t.times, 0.99), Max: quantile(t.times, 1),
	}, nil
}

// A run is calls being made.
type run struct {
	calls []call
	next  atomic.Int64
	tally *tally
	stop  context.CancelCauseFunc
	// The clock has stopped.
	over atomic.Bool
}

func (r *run) once(ctx context.Context) (int, check, error) {
	c := r.calls[int(r.next.Add(1)-1)%len(r.calls)]
	svids, later, err := c.make(ctx)
	if errors.As(err, new(wrongAnswer)) {
		r.stop(err)
	}
	return svids, later, err
}

// underWay keeps so many calls under way. Calls count that end while the clock runs: those begun before it and those
// that end after it cancel out.
func (r *run) underWay(ctx context.Context, inflight int, opens time.Time) {
	var workers sync.WaitGroup
	for range inflight {
		workers.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				svids, later, err := r.once(ctx)
				now := time.Now()
				if ctx.Err() != nil || r.over.Load() {
					return
				}
				if !now.Before(opens) {
					r.tally.add(now.Sub(began), svids, later, err)
				}
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	workers.Wait()
}

// atRate begins calls at random moments of a fixed rate, whatever became of earlier ones. The time of a call is from the
// moment that it was due, so that a server which stands still is charged for everyone who waits.
func (r *run) atRate(ctx context.Context, rate float64, opens, closes time.Time) {
	arrivals := rand.New(rand.NewPCG(arrivalSeed, arrivalSeed))
	var workers sync.WaitGroup
	var underWay atomic.Int64
	for next := time.Now(); ; {
		next = next.Add(seconds(arrivals.ExpFloat64() / rate))
		due := next
		if !due.Before(closes) || until(ctx, due) != nil {
			break
		}
		if underWay.Add(1) > mostUnderWay {
			r.stop(fmt.Errorf("more than %d calls are under way: the server cannot keep up", mostUnderWay))
			break
		}
		workers.Go(func() {
			svids, later, err := r.once(ctx)
			if !due.Before(opens) && ctx.Err() == nil {
				r.tally.add(time.Since(due), svids, later, err)
			}
			underWay.Add(-1)
		})
	}
	workers.Wait()
}

// quantile gives milliseconds; times are sorted.
func quantile(times []time.Duration, share float64) float64 {
	at := min(len(times)-1, int(float64(len(times))*share))
	return float64(times[at].Microseconds()) / 1000
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// until waits for a moment, or returns early with what ended the context.
func until(ctx context.Context, moment time.Time) error {
	left := time.Until(moment)
	if left <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
