package main

var server = []mutant{
	{
		name:   "I9-check-fails-open",
		breaks: "a check that can't be answered refuses the request",
		test:   "./sojournd/internal/forwardauth -run TestI9CheckFailsClosed",
		edits: []edit{{"sojournd/internal/forwardauth/forwardauth.go",
			`refuse(w, http.StatusServiceUnavailable,`,
			`refuse(w, http.StatusOK,`}},
	},
}
