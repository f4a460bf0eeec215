package main

var console = []mutant{
	{
		name:   "I13-console-role",
		breaks: "an operator ends sessions only with the role end",
		test:   "./sojournd/internal/console -run TestRolesAndOrigins",
		edits: []edit{{"sojournd/internal/console/visit.go",
			`if v.operator.role(name) < role {`,
			`if v.operator.role(name) < min(role, Look) {`}},
	},
	{
		name:   "I2-console-application",
		breaks: "an application in which an operator has no role doesn't exist for that operator",
		test:   "./sojournd/internal/console -run TestRolesAndOrigins",
		edits: []edit{{"sojournd/internal/console/visit.go",
			`a.Name == name && v.operator.role(name) >= Look {`,
			`a.Name == name {`}},
	},
	{
		name:   "I13-console-role-after-reload",
		breaks: "a request decides by the roles of the present configuration, and an old password signs nobody in",
		test:   "./sojournd/internal/console -run TestReload",
		edits: []edit{{"sojournd/internal/console/visit.go",
			`o != nil && err == nil && signedBy == o.fingerprint() {`,
			`o != nil && err == nil && signedBy != "" {`}},
	},
	{
		name:   "I3-console-fresh-password",
		breaks: "ending more than one session takes a password that was entered lately",
		test:   "./sojournd/internal/console -run TestFreshPassword",
		edits: []edit{{"sojournd/internal/console/console.go",
			`handle("POST /apps/{app}/subject/end", End, careful,`,
			`handle("POST /apps/{app}/subject/end", End, member,`}},
	},
	{
		name:   "I1-console-shown-values",
		breaks: "who looks at a session's values is in the audit log",
		test:   "./sojournd/internal/console -run TestSessionPage",
		edits: []edit{{"sojournd/internal/console/sessions.go",
			`v.audit("show_values", short(v.r.PathValue("id"), 64), "", err)`,
			`_ = short("", 64)`}},
	},
	{
		name:   "I10-console-strict",
		breaks: "an operator's session that has ended elsewhere is over with the next request",
		test:   "./sojournd/internal/console -run TestStrict",
		edits: []edit{{"sojournd/internal/console/visit.go",
			`v.session.Strict()`,
			`_ = 0`}},
	},
	{
		name:   "I11-console-guessing",
		breaks: "an address that guesses passwords of many accounts is refused",
		test:   "./sojournd/internal/password -run TestAttemptsOfAnAddress",
		edits: []edit{{"sojournd/internal/password/attempts.go",
			`keys = append(keys, address, pair)`,
			`keys = append(keys, pair)
		_ = address`}},
	},
	{
		name:   "I2-console-alerts-of-others",
		breaks: "an operator sees alerts of the own applications only",
		test:   "./sojournd/internal/console -run TestAlertsPage",
		edits: []edit{{"sojournd/internal/console/alerts.go",
			`for _, a := range v.Apps() {
		for _, in`,
			`for i := range v.setup.Apps {
		a := &v.setup.Apps[i]
		for _, in`}},
	},
	{
		name:   "I12-story-of-a-known-id",
		breaks: "a browser that knows only the ID of a session learns nothing about it on the demo's page",
		test:   "./sojournd/internal/app -run TestStoryOfAnotherSession",
		edits: []edit{{"sojournd/internal/shop/story.go",
			`if id.IsZero() && data.Ended != "" {`,
			`if id.IsZero() {`}},
	},
}
