module github.com/sojourn-go/sojourn/adapters/scs

go 1.25

require (
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/sojourn-go/sojourn v0.0.0
)

replace github.com/sojourn-go/sojourn => ../../
