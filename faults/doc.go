// Package faults tests three nodes of an application on one store while their
// network and their store fail.
//
// Each node is a process: the engine and its middleware, nearcache and a driver,
// behind an HTTP server. It reaches its store through proxies (toxiproxy) that
// delay, swallow, cut and reset connections. The store's servers are killed,
// restarted and filled up. Meanwhile clients log in, read, write, renew and end
// sessions through all nodes. The tests check the answers: by a few plain rules
// (history_test.go), and for linearizability by porcupine against a model of a
// session (model_test.go).
//
// The usual run takes seconds for each fault. SOJOURN_SOAK=1 runs longer and with
// more seeds. SOJOURN_SEED repeats the choices of a run, as far as the clock and
// the network allow.
package faults
