package storetest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// broken maps each deliberately wrong store to the case that must detect it.
var broken = map[string]string{
	"blind upsert":                             "I4/UpdateNeverCreates",
	"revisions are not compared":               "I5/OneWinsEachRevision",
	"touch resurrects":                         "I4/TouchOfTheEnded",
	"touch at any time":                        "I7/TouchAtTheDeadline",
	"no tombstones":                            "I4/CreateAfterEnd",
	"no barrier":                               "Create/Barrier",
	"the watermark goes back":                  "EndAll/NeverGoesBack",
	"limit checked before":                     "I11/LimitUnderParallelLogins",
	"no limit for logins":                      "I11/LoginAtTheLimit",
	"eviction before the revision is compared": "I5/ConflictEndsNobody",
	"subjects in lower case":                   "Hostile/Subjects",
	"subjects without trailing blanks":         "Hostile/Subjects",
	"applications share everything":            "Scope/EveryMethod",
	"last seen goes back":                      "Update/LastSeenNeverGoesBack",
	"expired sessions are updated":             "I7/UpdateOfTheExpired",
	"expiring sessions count":                  "I11/ExpiredAndEndedDontCount",
	"confirms whatever secret":                 "I12/ConfirmOfAnotherSecret",
	"sweeps early":                             "I7/SweepAtTheDeadline",
	"sweeps every application":                 "Scope/Sweep",
	"ended sessions for good":                  "Ended/Life",
	"hides the watermark":                      "Barrier",
	"slices are kept":                          "Create/Aliasing",
}

const brokenEnv = "SOJOURN_STORETEST_BROKEN"

// TestModel checks that the suite accepts a correct store of another design.
func TestModel(t *testing.T) {
	Run(t, func(t testing.TB) store.Store { return newMapStore("") })
}

// TestBroken runs the suite against each broken store.
func TestBroken(t *testing.T) { wantBroken(t, broken, "TestBrokenStore") }

// wantBroken checks that each broken store fails its case. It runs the case in
// another process.
func wantBroken(t *testing.T, broken map[string]string, test string) {
	for name, want := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := "^" + test + "$/^" + strings.ReplaceAll(want, "/", "$/^") + "$"
			cmd := exec.Command(os.Args[0], "-test.run="+run, "-test.timeout=60s", "-test.count=20", "-test.failfast") // a race does not occur in each run
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("%s passes on the broken store", want)
			}
			if !strings.Contains(string(out), "--- FAIL: "+test+"/"+want) {
				t.Errorf("%s failed in another way:\n%s", want, out)
			}
		})
	}
}

// TestBrokenStore is the process that TestBroken starts.
func TestBrokenStore(t *testing.T) {
	name := os.Getenv(brokenEnv)
	if name == "" {
		return // TestBroken did not start it
	}
	Run(t, func(t testing.TB) store.Store { return newMapStore(name) })
}
