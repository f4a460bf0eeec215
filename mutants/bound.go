package main

// bound are the rules of sessions that are bound to their browser.
var bound = []mutant{
	{
		name:   "I12-bound-cookie-alone",
		breaks: "a bound session is good only together with a proof",
		test:   ". -run TestBoundCookieAloneIsRefused",
		edits: []edit{{"binding.go",
			`if is.confirmedAt == 0 || arrived <= is.confirmedAt.Add(b.Grace) {`,
			`if true {`}},
	},
	{
		name:   "I12-bound-proof-for-ever",
		breaks: "a proof is good for its life and the grace",
		test:   ". -run TestBoundTheft",
		edits:  []edit{{"binding.go", ` && arrived <= b.proofs[i].good {`, ` {`}},
	},
	{
		name:   "I12-bound-proof-judged-now",
		breaks: "a proof is judged as of the request's arrival",
		test:   ". -run TestBoundRequestsUnderWay",
		edits: []edit{{"presented.go",
			`v, st := judge(rec, &p.secret, q.arrived), e.opt.Bound.standingOf(rec, q.Proofs, q.arrived)`,
			`v, st := judge(rec, &p.secret, q.arrived), e.opt.Bound.standingOf(rec, q.Proofs, q.now)`}},
	},
	{
		name:   "I12-bound-successor-ends-the-proof",
		breaks: "a proof whose successor's answer may be lost stays good",
		test:   ". -run TestBoundProofsOfLostAnswers",
		edits:  []edit{{"binding.go", `kept := b.proofs[:b.issued]`, `kept := b.proofs[:0]`}},
	},
	{
		name:   "I12-bound-before-the-first-refresh",
		breaks: "a session is good without a proof until its key has refreshed",
		test:   ". -run TestBoundLostRegistration",
		edits:  []edit{{"binding.go", `if is.confirmedAt == 0 || arrived`, `if arrived`}},
	},
	{
		name:   "I12-bound-challenge-twice",
		breaks: "a challenge is good once",
		test:   ". -run TestBoundChallenges",
		edits:  []edit{{"binding.go", `b.generation++`, ``}},
	},
	{
		name:   "I12-bound-old-challenge",
		breaks: "a challenge is good for a while",
		test:   ". -run TestBoundChallenges",
		edits:  []edit{{"binding.go", `return now.Sub(made) <= b.ProofLife+challengeExtra`, `return made > 0`}},
	},
	{
		name:   "I12-bound-challenge-from-the-token",
		breaks: "who holds a token can't make challenges",
		test:   ". -run TestBoundChallengesAreUnpredictable",
		edits:  []edit{{"binding.go", `return b.secret[:], b.generation, ok`, `return r.EpochHash[:], b.generation, ok`}},
	},
	{
		name:   "I12-bound-any-key",
		breaks: "only the session's key renews a proof",
		test:   ". -run TestBoundChallenges",
		edits:  []edit{{"bind.go", `case !signed(b.key):`, `case false:`}},
	},
	{
		name:   "I12-bound-to-a-second-key",
		breaks: "a confirmed session is bound for good",
		test:   ". -run TestBoundSecondRegistration",
		edits:  []edit{{"bind.go", `case len(r.Binding) > 0 && (!ok || was.confirmedAt != 0):`, `case len(r.Binding) > 0 && (!ok || was.confirmedAt < 0):`}},
	},
	{
		name:   "I3-bound-reentry-without-a-proof",
		breaks: "a repeated login re-enters a bound session only with a proof",
		test:   ". -run TestBoundReentry",
		edits:  []edit{{"change.go", `if st == unproven {`, `if false {`}},
	},
	{
		name:   "I10-bound-refused-by-a-copy",
		breaks: "a cached record doesn't decide that no proof is good",
		test:   ". -run TestBoundCachedRecords",
		edits:  []edit{{"presented.go", ` || st == unproven {`, ` {`}},
	},
	{
		name:   "I13-bound-late-registration",
		breaks: "a registration that was under way during an elevation binds nothing",
		test:   ". -run TestI13LateRegistrations",
		edits:  []edit{{"bind.go", `case r.Epoch != epoch:`, `case r.Epoch < epoch:`}},
	},
	{
		name:   "I14-bound-unproven-request-writes",
		breaks: "an unproven request changes nothing",
		test:   ". -run TestI14UnprovenRequests",
		edits:  []edit{{"resolve.go", `f.tooLate = ErrUnproven`, ``}},
	},
	{
		name:   "I14-bound-unproven-request-writes-beside",
		breaks: "an unproven request changes no visitor's session either",
		test:   ". -run TestI14UnprovenRequests",
		edits:  []edit{{"resolve.go", `if f.unproven == nil {`, `if true {`}},
	},
	{
		name:   "I3-bound-requirement-without-a-proof",
		breaks: "a requirement of a bound session takes a proof, not an exception",
		test:   ". -run TestBoundRequirement",
		edits:  []edit{{"bind.go", `> 0 && s.found.standing == proven:`, `> 0:`}},
	},
	{
		name:   "I14-mirror-takes-unproven-for-a-sign-out",
		breaks: "a bound session without a proof is no sign-out for the mirror, which would drop what the user has changed",
		test:   "./mirror -run TestUnprovenIsNoSignOut",
		edits:  []edit{{"mirror/exchange.go", `return nil, sojourn.ErrUnproven`, ``}},
	},
}
