package main

var mirrors = []mutant{
	{
		name:   "I8-visitors-preferences-are-kept",
		breaks: "a visitor who sets preferences leaves nothing on the server",
		test:   "./mirror -run TestVisitor",
		edits: []edit{{"mirror/exchange.go",
			`_, refused := merger.merge(nil)`,
			`_, refused := merger.merge(nil)
	if err := s.Start(); err != nil {
		return nil, err
	}`}},
	},
	{
		name:   "I14-late-request-looks-like-a-sign-out",
		breaks: "a request with the secret of before an elevation doesn't tell the browser that nobody is signed in",
		test:   "./mirror -run TestFormerSecretIsNoSignOut",
		edits: []edit{{"mirror/exchange.go",
			`return nil, sojourn.ErrSuperseded`,
			`break`}},
	},
	{
		name:   "I1-personal-values-of-another-user",
		breaks: "what the user before has left in a browser doesn't become the next one's",
		test:   "./mirror -run TestAnotherUserOfTheBrowser",
		edits: []edit{{"mirror/merge.go",
			`return !k.Personal || by == "" || by == m.user`,
			`return true`}},
	},
	{
		name:   "I1-undeclared-values-leave-the-server",
		breaks: "only declared values are sent to browsers",
		test:   "./mirror -run TestOnlyDeclaredValuesLeaveTheServer",
		edits: []edit{{"mirror/exchange.go",
			`&answer{merger.user, m.public(merged),`,
			`&answer{merger.user, merged,`}},
	},
	{
		name:   "I5-earlier-change-wins",
		breaks: "of two devices' changes the later wins, in whatever order they arrive",
		test:   "./mirror -run TestLaterChangeWins",
		edits: []edit{{"mirror/merge.go",
			`have == nil || at >= have.Time`,
			`true`}},
	},
	{
		name:   "I11-values-of-any-size",
		breaks: "all values of a user together have at most 1 KB",
		test:   "./mirror -run TestLimitOfAllKeys",
		edits: []edit{{"mirror/merge.go",
			`more > 0 && total+more > maxBytes`,
			`false`}},
	},
	{
		name:   "I11-more-than-the-limit-leaves-the-server",
		breaks: "what the server sends to browsers has at most 1 KB, whatever the application has stored",
		test:   "./mirror -run TestLimitOfWhatLeavesTheServer",
		edits: []edit{{"mirror/merge.go",
			`e != nil && total+e.size(k) <= maxBytes`,
			`e != nil`}},
	},
	{
		name:   "I5-profile-is-overwritten",
		breaks: "parallel changes of a profile all land",
		test:   ". -run TestI5ParallelProfiles",
		edits: []edit{{"profile.go",
			`if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {`,
			`if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) {
			return nil
		} else {`}},
	},
}
