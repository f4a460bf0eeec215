package sojourn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

func TestPresets(t *testing.T) {
	for _, test := range []struct {
		name           string
		policy         sojourn.Policy
		idle, absolute time.Duration
	}{ // SP 800-63B-4, sections 2.1.3, 2.2.3, 2.3.3
		{"AAL1", sojourn.AAL1(), 30 * 24 * time.Hour, 30 * 24 * time.Hour},
		{"AAL2", sojourn.AAL2(), time.Hour, 24 * time.Hour},
		{"AAL3", sojourn.AAL3(), 15 * time.Minute, 12 * time.Hour},
	} {
		for _, life := range []sojourn.Lifetime{test.policy.Login, test.policy.Remembered} {
			if life.Idle > test.idle || life.Absolute > test.absolute {
				t.Errorf("%s: %v", test.name, life)
			}
		}
		w := newWorld(t, options(func(o *sojourn.Options) { o.Policy = test.policy }))
		j := w.loggedIn("ann", sojourn.Remember())
		w.pass(test.policy.Login.Idle)
		w.want(test.name, w.look(j), "")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*sojourn.Options){
		"App":         func(o *sojourn.Options) { o.App = "a b" },
		"Login":       func(o *sojourn.Options) { o.Policy.Login = sojourn.Lifetime{Idle: time.Hour, Absolute: time.Minute} },
		"Anonymous":   func(o *sojourn.Options) { o.Policy.Anonymous.Idle = -1 },
		"RotateEvery": func(o *sojourn.Options) { o.Policy.RotateEvery = time.Second },
		"Grace":       func(o *sojourn.Options) { o.Policy.Grace = time.Second },
		"MaxSession":  func(o *sojourn.Options) { o.MaxSession = 2 << 20 },
		"MaxValue":    func(o *sojourn.Options) { o.MaxValue = 1 << 20 },
	} {
		o := sojourn.Options{}
		change(&o)
		if _, err := sojourn.New(newWorld(t).store, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sojourn.New(nil, sojourn.Options{}); err == nil {
		t.Error("New accepts a nil store")
	}
}
