package main

var simulator = []mutant{
	{
		name:   "I12-sim-confirmed-at-first-sight",
		breaks: "a secret is confirmed at least 60 s after it was first presented, not at once",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`c.FirstSeenAt = arrived`,
			`c.FirstSeenAt = arrived
		c.ConfirmedAt = arrived
		c.Until = arrived.Add(grace)`}},
	},
	{
		name:   "I12-sim-confirmed-by-age",
		breaks: "confirmation counts from the first request that presented the secret, not from its issue",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{
			{"secrets.go",
				`case r.Secret.FirstSeenAt == 0:`,
				`case arrived >= r.Secret.IssuedAt.Add(confirmAfter):`},
			{"secrets.go",
				`case arrived >= r.Secret.FirstSeenAt.Add(confirmAfter):`,
				``},
		},
	},
	{
		name:   "I12-sim-no-grace",
		breaks: "secrets from before a confirmed one stay good for the grace, for uploads under way",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`c.Until = arrived.Add(grace)`,
			`c.Until = arrived`}},
	},
	{
		name:   "I12-sim-ended-by-rotation",
		breaks: "secrets since the last confirmed one stay good until the current one is confirmed",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`unconfirmed := 1 // next`,
			`for i := range r.Good {
				r.Good[i].Until = now
			}
			unconfirmed := 1`}},
	},
	{
		name:   "I12-sim-one-former-kept",
		breaks: "all secrets since the last confirmed one stay good, not only the last",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`unconfirmed := 1 // next`,
			`for i := range r.Good[:len(r.Good)-1] {
				r.Good[i].Until = now
			}
			unconfirmed := 1`}},
	},
	{
		name:   "I12-sim-judged-now",
		breaks: "a request is judged as of its arrival, however late its handler reads the session",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"session.go",
			`if arrived == 0 {`,
			`if arrived = 0; arrived == 0 {`}},
	},
	{
		name:   "I12-sim-forgets-former",
		breaks: "the record remembers until when each secret was good, for slow requests",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`if known && same(print[:], spent.Print[:])`,
			`if false && known && same(print[:], spent.Print[:])`}},
	},
	{
		name:   "I12-sim-repeats-at-once",
		breaks: "repeats of a rotation are 5 min apart",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`return arrived >= r.Secret.IssuedAt.Add(repeatAfter)`,
			`return true`}},
	},
	{
		name:   "I12-sim-repeats-for-anyone",
		breaks: "no rotation is repeated once a successor is confirmed; otherwise a thief and the victim could take turns unnoticed",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`case held:`,
			`case good, held:`}},
	},
	{
		name:   "I12-sim-drops-confirmed",
		breaks: "a repeat never drops the last confirmed secret: a client that ignores Set-Cookie stays logged in",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			` || g.ConfirmedAt != 0 || g.Hash == presented`,
			``}},
	},
	{
		name:   "I12-sim-drops-presented",
		breaks: "a repeat never drops the secret that the request presents",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			` || g.Hash == presented`,
			``}},
	},
	{
		name:   "I3-sim-login-keeps-grace",
		breaks: "a login ends every earlier secret",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`var keep []store.Secret`,
			`keep := append(r.Good, r.Secret)`}},
	},
	{
		name:   "I3-sim-elevation-keeps-logins",
		breaks: "no secret survives an elevation",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"draft.go",
			`t.now(), false, false, t.opt.Policy.Grace)`,
			`t.now(), false, true, t.opt.Policy.Grace)`}},
	},
	{
		name:   "I12-sim-former-epoch-is-theft",
		breaks: "an earlier epoch's secret is refused, and ends nothing",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`case known:
		return former`,
			`case known:
		return stolen`}},
	},
	{
		name:   "I12-sim-garbage-is-theft",
		breaks: "a token with a known session ID and a wrong secret ends nothing",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{
			{"secrets.go",
				`return garbage`,
				`return stolen`},
		},
	},
	{
		name:   "I12-sim-theft-unreported",
		breaks: "a former secret after the grace is theft",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`case ours:
		return stolen`,
			`case ours:
		return former`}},
	},
	{
		name:   "I12-sim-repeated-login-ends-parallel",
		breaks: "a secret issued by a login within the grace survives a repeated login",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"secrets.go",
			`if repeated {`,
			`if false {`}},
	},
	{
		name:   "I3-sim-knowing-login-keeps",
		breaks: "a login that presents the current secret ends it at once",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"draft.go",
			`repeated := r.Subject != "" && f.verdict != current`,
			`repeated := r.Subject != ""`}},
	},
	{
		name:   "I13-sim-writes-after-login",
		breaks: "a request that was authorised before a login or elevation cannot write after it",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"commit.go",
			`if rec.Epoch != f.epoch {`,
			`if false {`}},
	},
	{
		name:   "I14-sim-refused-request-writes",
		breaks: "a late request that was refused creates nothing",
		test:   "./internal/simulator -run TestSim",
		edits: []edit{{"commit.go",
			`case f.tooLate != nil && asked`,
			`case false && asked`}},
	},
	{
		name:   "I12-sim-bound-proof-for-ever",
		breaks: "a copied proof is good for its life and the grace",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", ` && arrived <= b.proofs[i].good {`, ` {`}},
	},
	{
		name:   "I12-sim-bound-without-a-proof",
		breaks: "a bound session is good only together with a proof",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", `if is.confirmedAt == 0 || arrived`, `if true || arrived`}},
	},
	{
		name:   "I12-sim-bound-no-grace",
		breaks: "requests that were under way at the first refresh need no proof",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", `is.confirmedAt.Add(b.Grace) {`, `is.confirmedAt {`}},
	},
	{
		name:   "I12-sim-bound-successor-ends-the-proof",
		breaks: "a proof whose successor's answer may be lost stays good",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", `kept := b.proofs[:b.issued]`, `kept := b.proofs[:0]`}},
	},
	{
		name:   "I12-sim-bound-few-proofs",
		breaks: "a proof is good for the whole grace, though the browser has renewed it since",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", `(kept[0].good < now || len(kept) == maxProofs)`, `true`}},
	},
	{
		name:   "I12-sim-bound-theft-without-a-proof",
		breaks: "a thief without a proof doesn't sign the user out",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"presented.go", `if v == stolen && st == unproven {`, `if false {`}},
	},
	{
		name:   "I12-sim-bound-to-a-thief",
		breaks: "a second registration of a confirmed session is refused",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"bind.go", `case len(r.Binding) > 0 && (!ok || was.confirmedAt != 0):`, `case len(r.Binding) > 0 && !ok:`}},
	},
	{
		name:   "I12-sim-bound-challenge-twice",
		breaks: "a challenge is good once",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"binding.go", `b.generation++`, ``}},
	},
	{
		name:   "I3-sim-bound-reentry-without-a-proof",
		breaks: "a repeated login re-enters a bound session only with a proof",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"change.go", `if st == unproven {`, `if false {`}},
	},
	{
		name:   "I14-sim-bound-unproven-request-writes",
		breaks: "an unproven request changes nothing",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"resolve.go", `f.tooLate = ErrUnproven`, ``}},
	},
	{
		name:   "I14-sim-bound-late-registration",
		breaks: "the late answer to an earlier registration replaces no key in the browser",
		test:   "./internal/simulator -run TestSim",
		edits:  []edit{{"bind.go", ` && s.e.now() > b.registeredAt.Add(offerAgain)`, ``}},
	},
}
