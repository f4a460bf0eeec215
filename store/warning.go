package store

// A Warning is something about a store's server that its operator should
// change. The store works, but not as well as it should.
type Warning struct {
	Code string // names the kind: small letters and underscores
	Text string // what is wrong, and what to do; one line, without secrets
}

// A Warner is a Store that notices what is wrong with its server while it
// serves. Warnings returns what is wrong at present.
type Warner interface {
	Warnings() []Warning
}
