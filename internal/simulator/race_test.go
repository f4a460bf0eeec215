//go:build race

package simulator

func init() { raceDetector = true }
