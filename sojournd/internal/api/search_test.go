package api

import (
	"net/url"
	"testing"
	"time"
)

func TestSearch(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.user("ann")
		w.visitor(j{})
	}
	w.user("anton")
	w.call("POST", "/v1/sessions/login", j{"subject": "zoe", "level": 2, "remember": true, "client": j{"ip": "203.0.113.7", "user_agent": "Opera/9.80 (50% _)"}}).want(200, "")
	now := w.time()
	for query, want := range map[string]int{
		"":                                8,
		"subject=ann":                     3,
		"subject=an":                      0,
		"subject_prefix=an":               4,
		"subject_prefix=an&subject=anton": 1,
		"logged_in=true":                  5,
		"logged_in=false":                 3,
		"remembered=true":                 1,
		"remembered=false":                7,
		"level=2":                         1,
		"level=0":                         8,
		"network=203.0.113.7":             1,
		"network=203.0.113.0/24":          1,
		"network=::ffff:203.0.113.7":      1,
		"network=2001:db8::/32":           0,
		"user_agent=oPERA/9":              1,
		"user_agent=%25":                  1,
		"created_from=" + url.QueryEscape(now.Add(time.Hour).Format(time.RFC3339)): 0,
		"created_to=" + url.QueryEscape(now.Add(time.Hour).Format(time.RFC3339)):   8,
		"seen_to=" + url.QueryEscape(now.Add(time.Hour).Format(time.RFC3339)):      8,
		"seen_from=" + url.QueryEscape(now.Add(time.Hour).Format(time.RFC3339)):    0,
	} {
		n, cursor := 0, ""
		for range 100 {
			a := w.call("GET", "/v1/sessions/search?limit=2"+and(query)+cursor, nil).want(200, "")
			n += len(a.at("sessions").([]any))
			next, more := a.body["next_cursor"].(string)
			if share := a.at("share").(float64); share < 0 || share > 1 || !more && share != 1 {
				t.Errorf("%s: share %v", query, share)
			}
			if !more {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(next)
		}
		if n != want {
			t.Errorf("%s: %d sessions, want %d", query, n, want)
		}
	}
	if first := w.call("GET", "/v1/sessions/search?level=2", nil).want(200, "").at("sessions").([]any)[0].(j); first["subject"] != "zoe" || first["values"] != nil {
		t.Errorf("of level 2: %v", first)
	}
	w.as("blog", "GET", "/v1/sessions/search?subject_prefix=", nil).want(422, "invalid_request")
	if a := w.as("blog", "GET", "/v1/sessions/search?subject_prefix=an", nil).want(200, ""); len(a.at("sessions").([]any)) != 0 {
		t.Errorf("another application finds %s", a.text)
	}
	for _, query := range []string{"level=4", "level=x", "limit=0", "limit=1001", "network=203.0.113", "network=203.0.113.0/33", "created_from=yesterday", "seen_to=5", "logged_in=1", "remembered=yes", "foo=1", "values=true"} {
		w.call("GET", "/v1/sessions/search?"+query, nil).want(422, "invalid_request")
	}
	w.call("GET", "/v1/sessions/search?cursor=nonsense", nil).want(400, "invalid_cursor")
}

func and(query string) string {
	if query == "" {
		return ""
	}
	return "&" + query
}
