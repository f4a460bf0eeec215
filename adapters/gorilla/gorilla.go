// Package gorilla adopts sessions of gorilla/sessions.
package gorilla
