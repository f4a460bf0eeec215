package main

var server = []mutant{
	{
		name:   "I2-old-token-of-a-browser",
		breaks: "a browser can't present the token of another library's session, for which only the application vouches",
		test:   "./sojournd/internal/api -run TestAdopt",
		edits: []edit{{"sojournd/internal/api/browser.go",
			`	r.Old = nil`,
			`	_ = r.Old`}},
	},
	{
		name:   "I2-pages-of-another-application",
		breaks: "a path leads to the pages of the application that it names",
		test:   "./sojournd -run TestPagesOfApplications",
		edits: []edit{{"sojournd/internal/app/pages.go",
			`g.sites[name]`,
			`g.sites["blog"+name[:0]]`}},
	},
	{
		name:   "I2-pages-lead-back-to-any-host",
		breaks: "a sign-in page elsewhere leads back to listed origins only",
		test:   "./sojournd -run TestPagesOfApplications",
		edits: []edit{{"signin.go",
			`strings.EqualFold(u.Host, r.Host) {`,
			`strings.EqualFold(u.Host, u.Host) {`}},
	},
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
	{
		name:   "I2-chosen-header-of-a-visitor",
		breaks: "a visitor's values tell no proxy's application who that is",
		test:   "./sojournd/internal/forwardauth -run TestChosenHeaders",
		edits: []edit{{"sojournd/internal/forwardauth/headers.go",
			`if info.Subject != "" {`,
			`if true {`}},
	},
	{
		name:   "I2-chosen-header-not-encoded",
		breaks: "a value can't end the header that it is sent in",
		test:   "./sojournd/internal/forwardauth -run TestEncodingOfHeaders",
		edits: []edit{{"sojournd/internal/forwardauth/headers.go",
			`visible := c > ' ' &&`,
			`visible := true &&`}},
	},
	{
		name:   "I12-thief-asks-for-passive-checks",
		breaks: "a changed client is noted, whether or not the request asks to be passive",
		test:   "./sojournd/internal/forwardauth -run TestPassiveChecks",
		edits: []edit{{"sojournd/internal/forwardauth/forwardauth.go",
			`!client.IP.IsValid() || client == was`,
			`true || client == was`}},
	},
	{
		name:   "I4-touch-by-id-of-an-expired-session",
		breaks: "a touch by ID doesn't bring a session back",
		test:   ". -run TestTouchByID",
		edits: []edit{{"operator.go",
			`return Info{}, byID("touch a session", err)
	}
	now`,
			`return Info{ID: id}, nil
	}
	now`}},
	},
	{
		name:   "I3-stream-outlives-the-role",
		breaks: "a role that a reload takes away ends the operator's streams",
		test:   "./sojournd/internal/console -run TestStreamsEnd",
		edits: []edit{{"sojournd/internal/console/console.go",
			`old.replace()`,
			``}},
	},
	{
		name:   "I3-stream-outlives-the-session",
		breaks: "the end of an operator's session ends its streams",
		test:   "./sojournd/internal/console -run TestStreamsEnd",
		edits: []edit{{"sojournd/internal/console/events.go",
			`		case <-ended:
			cancel()`,
			`		case <-ended:`}},
	},
	{
		name:   "I10-console-never-idle",
		breaks: "a page that refreshes itself keeps no operator signed in",
		test:   "./sojournd/internal/console -run TestFiguresAreNoActivity",
		edits: []edit{{"sojournd/internal/console/overview.go",
			`v.session.Passive()`,
			``}},
	},
	{
		name:   "I1-alerts-of-another-application",
		breaks: "an operator sees the alerts of his applications only",
		test:   "./sojournd/internal/console -run TestAlertsPage",
		edits: []edit{{"sojournd/internal/console/alerts.go",
			`	for _, a := range v.Apps() {
		for _, in`,
			`	for _, a := range v.setup.Apps {
		a := &a
		for _, in`}},
	},
	{
		name:   "I1-stream-harms-the-ring",
		breaks: "a stream that leaves events out changes no other subscriber's events",
		test:   "./sojournd/internal/console -run TestEventStream",
		edits: []edit{{"sojournd/internal/console/rows.go",
			`return slices.Concat(id, []byte("\n\n")) // the frame is the ring's`,
			`return append(id, "\n\n"...)`}},
	},
}
