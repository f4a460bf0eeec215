package api

import (
	"context"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

func search(ctx context.Context, c *call, _ *none) (*v1.Found, error) {
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	f := sojourn.Filter{Subject: c.query("subject"), SubjectPrefix: c.query("subject_prefix"), UserAgent: c.query("user_agent")}
	if f.MinLevel, err = c.number("level", 0, 0, 3); err != nil {
		return nil, err
	}
	for name, choice := range map[string]*sojourn.Choice{"logged_in": &f.LoggedIn, "remembered": &f.Remembered} {
		switch c.query(name) {
		case "true":
			*choice = sojourn.Only
		case "false":
			*choice = sojourn.Not
		case "":
		default:
			return nil, invalid(name, "must be true or false")
		}
	}
	if text := c.query("network"); text != "" {
		if f.Network, err = network(text); err != nil {
			return nil, invalid("network", "must be an IP address, or a network such as 203.0.113.0/24")
		}
	}
	for name, moment := range map[string]*time.Time{"created_from": &f.CreatedFrom, "created_to": &f.CreatedTo, "seen_from": &f.SeenFrom, "seen_to": &f.SeenTo} {
		if text := c.query(name); text != "" {
			if *moment, err = time.Parse(time.RFC3339, text); err != nil {
				return nil, invalid(name, "must be a time such as 2026-11-24T09:30:00Z (RFC 3339)")
			}
		}
	}
	found, err := c.key.app.Sessions.Search(ctx, f, c.query("cursor"), limit)
	if err != nil {
		return nil, err
	}
	page := &v1.Found{Sessions: []*v1.Session{}, NextCursor: found.Cursor, Examined: found.Examined, Share: found.Share}
	for i := range found.Sessions {
		page.Sessions = append(page.Sessions, infoOf(&found.Sessions[i]))
	}
	return page, nil
}

// network parses a network, or an address.
func network(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		ip = ip.Unmap().WithZone("")
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
