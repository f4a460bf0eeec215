// Package driver holds what the implementations of [store.Store] share: the
// change feed of one process, pages and cursors of List, and the JSON in which
// stores keep values and former secrets, so that people can read them with the
// database's own tools. [Intercept] decorates any store.
package driver
