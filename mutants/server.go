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
	{
		name:   "I2-way-back-out-of-the-site",
		breaks: "a sign-in page leads back to the same site only",
		test:   ". -run TestRequirementWayBack",
		edits: []edit{{"internal/signin/signin.go",
			` && !strings.Contains(path, "//")`,
			``}},
	},
}
