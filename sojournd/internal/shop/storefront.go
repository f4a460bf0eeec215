package shop

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/sojourn-go/sojourn"
)

// front is GET /: the catalogue.
func (v *visit) front() error {
	if v.json {
		type item struct {
			SKU   string `json:"sku"`
			Name  string `json:"name"`
			Cents int    `json:"price_cents"`
		}
		items := make([]item, len(catalogue))
		for i, p := range catalogue {
			items[i] = item{p.SKU, v.T("product." + p.SKU), p.Cents}
		}
		v.writeJSON(http.StatusOK, map[string]any{"products": items})
		return nil
	}
	if _, err := cartKey.Get(v.session); err != nil {
		return err
	}
	data := struct {
		Notice   string
		Products []product
	}{Products: catalogue}
	if v.user.ID == "" { // otherwise the address is old
		data.Notice = v.notice()
	}
	v.render(http.StatusOK, "front", data)
	return nil
}

// cartLine is a line of the cart as the page shows it.
type cartLine struct {
	product
	Qty int
	Sum int
}

// cartPage is GET /cart and /cart.json.
func (v *visit) cartPage() error {
	c, err := cartKey.Get(v.session)
	if err != nil {
		return err
	}
	if v.json {
		v.writeJSON(http.StatusOK, cartAnswer(c))
		return nil
	}
	var data struct {
		Lines []cartLine
		Total int
	}
	for _, l := range c.Items {
		if p := productBySKU[l.SKU]; p != nil { // otherwise it is no longer for sale
			data.Lines = append(data.Lines, cartLine{*p, l.Qty, l.Qty * p.Cents})
			data.Total += l.Qty * p.Cents
		}
	}
	v.render(http.StatusOK, "cart", data)
	return nil
}

func cartAnswer(c cart) any {
	if c.Items == nil {
		c.Items = []Line{}
	}
	return map[string]any{"items": c.Items}
}

// addToCart is POST /cart. It adds a quantity of a product, by default 1. A
// negative quantity removes.
func (v *visit) addToCart() error {
	sku, qty := v.field("sku"), 1
	if productBySKU[sku] == nil {
		return errUnknownSKU
	}
	if text := v.field("qty"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < -maxQuantity || n > maxQuantity {
			return errBadQuantity
		}
		qty = n
	}
	c, err := cartKey.Get(v.session)
	if err != nil {
		return err
	}
	if qty <= 0 && len(c.Items) == 0 { // nothing to remove, so no session is needed
		return v.done(cartAnswer(c), sojourn.LocalPath(v.field("next"), "/cart"))
	}
	if err := cartKey.Update(v.session, func(c *cart) error { return c.add(sku, qty) }); err != nil {
		return err
	}
	// Commit before saving: the user's cart must not get what the session
	// refuses.
	if err := v.session.Commit(v.r.Context()); err != nil {
		return err
	}
	if c, err = cartKey.Get(v.session); err != nil {
		return err
	}
	v.saveCart(c)
	return v.done(cartAnswer(c), sojourn.LocalPath(v.field("next"), "/cart"))
}

// saveCart copies the committed cart to the user. The session has the cart too,
// so a failure is only logged.
func (v *visit) saveCart(c cart) {
	info := v.session.Info()
	if info.Subject == "" {
		return
	}
	err := v.shop.Users.SetCart(v.r.Context(), info.Subject, c.Items, CartVersion{info.ID, info.Revision})
	if err != nil && !errors.Is(err, ErrNoUser) {
		v.shop.Log.ErrorContext(v.r.Context(), "shop: save the cart", "user", info.Subject, "error", err)
	}
}

// CartCount is the number of articles in the cart, for the templates.
func (v *visit) CartCount() int {
	if v.session == nil || v.unreadable {
		return 0
	}
	c, err := cartKey.Get(v.session)
	if err != nil {
		return 0
	}
	return c.count()
}

// notFound answers a path or method that does not exist.
func (v *visit) notFound() error {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r := &http.Request{Method: method, URL: v.r.URL, Host: v.r.Host}
		if _, pattern := v.shop.mux.Handler(r); pattern != "/" && pattern != "" && method != v.r.Method {
			v.w.Header().Set("Allow", method)
			return errMethod
		}
	}
	return errNotFound
}
