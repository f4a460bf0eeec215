package main

var pages = []mutant{
	{
		name:   "I1-question-shows-another-users-device",
		breaks: "a session ID shows nothing of another user's session",
		test:   "./pages -run TestOtherUsersSessions",
		edits: []edit{{"pages/devices.go",
			`if found.Subject != v.session.Subject() {`,
			`if false {`}},
	},
	{
		name:   "I1-direction-of-text",
		breaks: "a user agent can't change how the page around it reads",
		test:   "./pages -run TestHostileUserAgents",
		edits: []edit{{"pages/agent.go",
			`case !unicode.IsPrint(c):`,
			`case false:`}},
	},
	{
		name:   "I3-others-end-without-a-fresh-login",
		breaks: "who has only the cookie can't sign out the user's other devices",
		test:   "./pages -run TestFreshSignIn",
		edits: []edit{{"pages/devices.go",
			`	if err := v.require(v.h.end); err != nil {
		return err
	}
	switch {`,
			`	switch {`}},
	},
	{
		name:   "I7-open-page-is-activity",
		breaks: "a page that is left open doesn't keep its session from expiring",
		test:   "./pages -run TestLiveIsPassive",
		edits: []edit{{"pages/devices.go",
			`v.session.Passive()`,
			``}},
	},
	{
		name:   "I11-page-of-any-length",
		breaks: "a page has so many sessions that it stays under 40 KB",
		test:   "./pages -run TestThousandSessions",
		edits: []edit{{"pages/devices.go",
			`if len(infos) > perPage {`,
			`if len(infos) > 100*perPage {`}},
	},
	{
		name:   "I12-bound-waiting-page-for-ever",
		breaks: "a page that refuses what the waiting page has seen proven doesn't lead there for ever",
		test:   "./pages -run TestWaitingPageEnds",
		edits: []edit{{"pages/bound.go",
			`&& count >= 0 && count < maxBacks {`,
			`{`}},
	},
	{
		name:   "I12-bound-waiting-page-leads-to-itself",
		breaks: "the way back from the waiting page is never that page",
		test:   "./pages -run TestWaitingPageLeadsToThisSite",
		edits: []edit{{"pages/bound.go",
			`strings.HasPrefix(path, v.At("bound/"))`,
			`false && path == ""`}},
	},
}
