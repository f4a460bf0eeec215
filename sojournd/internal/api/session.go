package api

import (
	"net/netip"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
)

// clientOf returns a request's client for the engine.
func clientOf(c *v1.RequestClient) (sojourn.Client, error) {
	if c == nil {
		return sojourn.Client{}, nil
	}
	is := sojourn.Client{UserAgent: c.UserAgent}
	if c.IP != "" {
		ip, err := netip.ParseAddr(c.IP)
		if err != nil {
			return is, invalid("/client/ip", "is no IP address")
		}
		is.IP = ip.Unmap().WithZone("")
	}
	return is, nil
}

func sessionOf(snap *sojourn.Snapshot) *v1.Session {
	s := infoOf(&snap.Info)
	s.Values = v1.Values(snap.Values)
	return s
}

func infoOf(i *sojourn.Info) *v1.Session {
	return &v1.Session{
		ID: i.ID.String(), Subject: i.Subject,
		CreatedAt: i.CreatedAt, AuthenticatedAt: i.AuthenticatedAt, LastSeenAt: i.LastSeenAt,
		IdleExpiresAt: i.IdleExpiresAt, ExpiresAt: i.ExpiresAt,
		AMR: i.AMR, Level: i.Level, Remembered: i.Remembered, UntilBrowserCloses: i.UntilBrowserCloses, Revision: i.Revision, Bound: i.Bound, Sealed: i.Sealed,
		Client: browserOf(i.LastSeen),
	}
}

func browserOf(c sojourn.Client) v1.Browser {
	b := v1.Browser{UserAgent: c.UserAgent, Name: useragent.Name(c.UserAgent)}
	if c.IP.IsValid() {
		b.IP = c.IP.String()
	}
	return b
}
