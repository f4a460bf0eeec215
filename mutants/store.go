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
		breaks: "a sweep ends its own application's sessions only, whose observers hear of them",
		test:   "./store/memstore -run TestStore/Scope",
		edits: []edit{{"store/memstore/sweep.go",
			`if h.App != a.num {`,
			`if false {`}},
	},
}
