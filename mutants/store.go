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
}
