package main

// boundHTTP are the rules of the addresses where browsers bind their sessions, and
// of what they send there.
var boundHTTP = []mutant{
	{
		name:   "I9-bound-outage",
		breaks: "no browser gives up a session because of an outage",
		test:   ". -run TestBoundOutages",
		edits:  []edit{{"bound_http.go", `status := http.StatusServiceUnavailable`, `status := http.StatusUnauthorized`}},
	},
	{
		name:   "I2-bound-registration-of-another-origin",
		breaks: "a page of another origin registers nothing",
		test:   ". -run TestBoundRefusals",
		edits:  []edit{{"bound_http.go", `if err := e.CheckOrigin(r); err != nil {`, `if err := e.CheckOrigin(r); false {`}},
	},
	{
		name:   "I2-bound-registration-by-a-script",
		breaks: "a script registers only if Binding.Script allows it",
		test:   ". -run TestBoundScript",
		edits:  []edit{{"bound_http.go", `!e.opt.Bound.Script && mode != ""`, `false && mode != ""`}},
	},
	{
		name:   "I14-bound-origin-refused-by-handler",
		breaks: "a refresh that another origin's page caused is not told to sign for ever",
		test:   ". -run TestBoundOrigins",
		edits:  []edit{{"handler.go", ` && !h.engine.isBoundPath(r.URL.Path) {`, ` {`}},
	},
	{
		name:   "I2-bound-unsigned-registration",
		breaks: "a browser registers only a key that it holds",
		test:   ". -run TestBoundRefusals",
		edits:  []edit{{"bound_http.go", `case !p.SignedBy(p.Key):`, `case false:`}},
	},
	{
		name:   "I11-bound-guessing",
		breaks: "unknown session IDs of one address cost few reads",
		test:   ". -run TestBoundGuessing",
		edits:  []edit{{"bound_http.go", `e.refused(&query{Request: &s.request, now: now}, &dead)`, `_ = dead`}},
	},
	{
		name:   "I2-dbsc-duplicate-members",
		breaks: "a proof in which a member occurs twice is refused",
		test:   "./internal/dbsc -run TestBrokenProofs",
		edits:  []edit{{"internal/dbsc/jwt.go", `if o[name.(string)] != nil {`, `if false {`}},
	},
	{
		name:   "I2-dbsc-two-spellings",
		breaks: "a proof has one spelling",
		test:   "./internal/dbsc -run TestBrokenProofs",
		edits:  []edit{{"internal/dbsc/jwt.go", `base64.RawURLEncoding.Strict()`, `base64.RawURLEncoding`}},
	},
	{
		name:   "I2-dbsc-algorithm-of-another-key",
		breaks: "a proof's algorithm is its key's",
		test:   "./internal/dbsc -run TestBrokenSignatures",
		edits:  []edit{{"internal/dbsc/jwt.go", `return p.algorithm == k.Algorithm() && k.verify`, `return k.verify`}},
	},
}
