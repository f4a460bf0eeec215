package main

var server = []mutant{
	{
		name:   "I9-check-fails-open",
		breaks: "a check that can't be answered lets nobody pass",
		test:   "./sojournd/internal/forwardauth -run TestI9CheckFailsClosed",
		edits: []edit{{"sojournd/internal/forwardauth/forwardauth.go",
			`return refuse(w, http.StatusServiceUnavailable,`,
			`return refuse(w, http.StatusOK,`}},
	},
}
