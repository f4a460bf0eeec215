package main

var store = []mutant{
	{
		name:   "I7-expired-at",
		breaks: "a session expires at its deadline, not only after it",
		test:   "./store -run TestI7",
		edits: []edit{{"store/record.go",
			`case now < idle && now < r.ExpiresAt:`,
			`case now <= idle && now <= r.ExpiresAt:`}},
	},
	{
		name:   "I7-memory-sweeps-others",
		breaks: "a sweep ends only the sessions of its own application",
		test:   "./store/memstore -run TestStore/Scope",
		edits: []edit{{"store/memstore/sweep.go",
			` || h.App != a.num {`,
			` {`}},
	},
	{
		name:   "I11-list-decodes-values",
		breaks: "a list without values doesn't decode them",
		test:   "./store/memstore -run TestI11ListMemory",
		edits: []edit{{"store/memstore/read.go",
			`if opt.Values {`,
			`if true {`}},
	},
	{
		name:   "I11-page-of-any-bytes",
		breaks: "the bytes of a list's page are limited",
		test:   "./store/memstore -run TestI11ListMemory",
		edits: []edit{{"store/driver/list.go",
			` || len(p.Records) > 0 && p.bytes+n > store.MaxPageBytes {`,
			` {`}},
	},
}
