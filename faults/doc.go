// Package faults holds tests: three nodes of an application on one store, and what goes wrong between them.
//
// Each node is a process of its own: the engine and its middleware, nearcache and a driver, behind an HTTP server. It
// reaches its store through proxies that delay, swallow, cut and reset what passes (toxiproxy), and the store's servers are
// killed, restarted and filled up. Meanwhile clients log in, read, write, renew and end sessions through all nodes. What
// they were answered is checked: by a few rules that say it plainly (history_test.go), and for linearizability by
// porcupine against a model of a session (model_test.go).
//
// The usual run takes seconds for each fault. SOJOURN_SOAK=1 takes longer windows and more seeds; SOJOURN_SEED repeats the
// choices of a run, as far as the clock and the network let it.
package faults
