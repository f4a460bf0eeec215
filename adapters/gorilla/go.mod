module github.com/sojourn-go/sojourn/adapters/gorilla

go 1.25

require (
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
	github.com/sojourn-go/sojourn v0.0.0
)

replace github.com/sojourn-go/sojourn => ../../
