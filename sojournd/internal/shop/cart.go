package shop

import (
	"errors"
	"slices"

	"github.com/sojourn-go/sojourn"
)

// maxQuantity bounds one line of a cart.
const maxQuantity = 999

// A Line is a quantity of a product.
type Line struct {
	SKU string `json:"sku"`
	Qty int    `json:"qty"` // 1 to maxQuantity
}

// A cart is in the session, before and after the login.
type cart struct {
	Items []Line `json:"items"`

	// User is the user whose saved cart was added already. Because of it a
	// repeated login does not add the saved cart twice.
	User string `json:"user,omitempty"`
}

var cartKey = sojourn.NewKey[cart]("cart")

var errTooMany = errors.New("shop: too many of one product")

// add adds n of a product. A negative n removes. A line with 0 is deleted.
func (c *cart) add(sku string, n int) error {
	i := slices.IndexFunc(c.Items, func(l Line) bool { return l.SKU == sku })
	if i < 0 {
		if n <= 0 {
			return nil
		}
		c.Items = append(c.Items, Line{SKU: sku})
		i = len(c.Items) - 1
	}
	switch qty := c.Items[i].Qty + n; {
	case qty > maxQuantity:
		return errTooMany
	case qty <= 0:
		c.Items = slices.Delete(c.Items, i, i+1)
	default:
		c.Items[i].Qty = qty
	}
	return nil
}

// adopt gives the cart to a user. It adds the user's saved cart once.
func (c *cart) adopt(user string, saved []Line) {
	if c.User == user {
		return
	}
	mine := c.Items
	c.User, c.Items = user, slices.Clone(saved)
	for _, l := range mine {
		if c.add(l.SKU, l.Qty) != nil {
			i := slices.IndexFunc(c.Items, func(have Line) bool { return have.SKU == l.SKU })
			c.Items[i].Qty = maxQuantity
		}
	}
}

// count is the number of articles.
func (c *cart) count() (n int) {
	for _, l := range c.Items {
		n += l.Qty
	}
	return n
}
