package shop

import (
	"errors"
	"sync"
	"testing"
	"time"
)

func TestCartAdd(t *testing.T) {
	var c cart
	for _, step := range []struct {
		sku  string
		qty  int
		want string
		err  error
	}{
		{"tent", -1, "", nil},
		{"tent", 0, "", nil},
		{"tent", 2, "tent:2", nil},
		{"camera", 1, "tent:2 camera:1", nil},
		{"tent", -1, "tent:1 camera:1", nil},
		{"camera", 998, "tent:1 camera:999", nil},
		{"camera", 1, "tent:1 camera:999", errTooMany},
		{"tent", -5, "camera:999", nil},
		{"camera", -999, "", nil},
	} {
		if err := c.add(step.sku, step.qty); !errors.Is(err, step.err) {
			t.Fatalf("%s %+d: %v", step.sku, step.qty, err)
		}
		if got := lines(c.Items); got != step.want {
			t.Fatalf("%s %+d: %q, want %q", step.sku, step.qty, got, step.want)
		}
	}
}

func TestCartAdopt(t *testing.T) {
	saved := []Line{{"tent", 2}, {"camera", 998}}
	c := cart{Items: []Line{{"camera", 3}, {"compass", 1}}}
	c.adopt("ada", saved)
	if got := lines(c.Items); got != "tent:2 camera:999 compass:1" {
		t.Errorf("merged: %q", got)
	}
	c.adopt("ada", saved)
	if got := lines(c.Items); got != "tent:2 camera:999 compass:1" {
		t.Errorf("merged twice: %q", got)
	}
	if got := lines(saved); got != "tent:2 camera:998" {
		t.Errorf("the saved cart changed: %q", got)
	}
}

func TestCartSurvivesLogin(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		b.post("/cart", "sku", "tent", "qty", "2").to("/cart")
		b.post("/cart", "sku", "compass").to("/cart")
		if got := b.cart(); got != "tent:2 compass:1" {
			t.Fatalf("before the login: %q", got)
		}
		b.login(ada)
		if got := b.cart(); got != "tent:2 compass:1" {
			t.Errorf("after the login: %q", got)
		}
		if got := lines(s.user(ada.Email).Cart); got != "tent:2 compass:1" {
			t.Errorf("saved: %q", got)
		}
	})
}

func TestCartIsMergedAtLogin(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		b.login(ada)
		b.post("/cart", "sku", "tent", "qty", "2")
		b.post("/logout").to("/?done=logout")
		if got := b.cart(); got != "" {
			t.Fatalf("after the logout: %q", got)
		}
		b.post("/cart", "sku", "tent")
		b.post("/cart", "sku", "lantern")
		b.login(ada)
		const want = "tent:3 lantern:1"
		if got := b.cart(); got != want {
			t.Errorf("merged: %q, want %q", got, want)
		}
		// Neither another login nor a confirmed password adds the saved cart again.
		b.login(ada)
		b.post("/reauth", "password", ada.Password).to("/account")
		if got := b.cart(); got != want {
			t.Errorf("after the same user's login: %q, want %q", got, want)
		}
		// Another browser gets the saved cart.
		other := s.browser()
		other.login(ada)
		if got := other.cart(); got != want {
			t.Errorf("elsewhere: %q, want %q", got, want)
		}
	})
}

// A login whose answer was lost is sent again with the old cookie. The session
// has the merged cart already, unless the visitor's was sealed: TestWhatDiffers.
func TestCartIsMergedOnceIfTheLoginIsRepeated(t *testing.T) {
	inWays(t, []*way{stored}, func(t *testing.T, w *way) {
		s := w.newSite(t)
		first := s.browser()
		first.login(ada)
		first.post("/cart", "sku", "tent", "qty", "2")
		first.post("/logout")

		first.post("/cart", "sku", "compass")
		again := first.copy()
		first.login(ada) // this answer is lost
		s.sleep(2 * time.Second)
		again.login(ada)
		if got, want := again.cart(), "tent:2 compass:1"; got != want {
			t.Errorf("after the repeated login: %q, want %q", got, want)
		}
	})
}

func TestCartStaysWithItsUser(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		b.login(ada)
		b.post("/cart", "sku", "tent")
		b.login(ben) // without a logout
		if got := b.cart(); got != "" {
			t.Errorf("ben has ada's cart: %q", got)
		}
		b.post("/cart", "sku", "camera")
		if got := lines(s.user(ada.Email).Cart); got != "tent:1" {
			t.Errorf("ada's: %q", got)
		}
		if got := lines(s.user(ben.Email).Cart); got != "camera:1" {
			t.Errorf("ben's: %q", got)
		}
	})
}

func TestCartParallelAdds(t *testing.T) {
	inWays(t, withList, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.program()
		b.login(ada)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { b.post("/cart", "sku", "tent").want(200) })
		}
		wg.Wait()
		if got := b.cart(); got != "tent:64" {
			t.Errorf("in the session: %q", got)
		}
		if got := lines(s.user(ada.Email).Cart); got != "tent:64" {
			t.Errorf("saved: %q", got)
		}
	})
}

func TestCartPage(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		b.get("/cart").want(200).has("Your cart is empty")
		b.post("/cart", "sku", "camera", "qty", "2", "next", "/#p-camera").to("/#p-camera")
		b.get("/cart").want(200).has("Half-frame camera", "€318.00", "2 articles", "Sign in to find this cart")
		b.lang = "de"
		b.get("/cart").want(200).has("Halbformat\u00adkamera", "318,00\u00a0€")
		b.post("/cart", "sku", "camera", "qty", "-2").to("/cart")
		if got := b.cart(); got != "" {
			t.Errorf("removed: %q", got)
		}
	})
}
