package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	v2 "github.com/go-json-experiment/json"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// An operation is a route with its description.
type operation struct {
	pattern string // for http.ServeMux
	id      string
	tag     string
	summary string
	text    string
	params  []*huma.Param
	body    any    // an example; nil: no body
	media   string // a media type for the body besides application/json
	status  int    // of a success; default 200
	answer  any    // an example; nil: no body
	stream  bool   // the answer is a stream of events
	tagged  bool   // the answer has an ETag
	codes   []code // problems, besides those of every operation
}

// routes adds all operations.
func (a *API) routes() {
	example := v1.Issued{Session: exampleSession(), Token: exampleToken, SetCookie: []string{"__Host-shop-session=" + exampleToken + "; Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Lax"}}
	alone := *exampleSession()
	alone.Values = nil
	client := &v1.RequestClient{IP: "203.0.113.7", UserAgent: exampleAgent}
	presented := v1.Presented{Token: new(exampleToken), Client: client}
	changed := v1.Changes{Set: map[string]json.RawMessage{"theme": json.RawMessage(`"dark"`)}, Delete: []string{"draft"}}
	key := v1.Keyed{Key: new("m9dRzGBM4p0xXoHtYdqSbGgkzQlEy8eU"), Client: client}
	level, elevated, revision, three := 1, 2, uint64(3), 3
	body := []code{codeJSON, codeInvalid, codeMedia, codeBody, codeTimeout}
	browsers := with(body, codeThrottled)
	changes := with(browsers, codeNotLive, codeEnded, codeSuperseded, codeConflict, codeUncertain)
	writes := with(body, codeUnsupported, codeNoSession, codeEnded, codeSuperseded, codeConflict, codeRevision, codeNoRevision, codeIfMatch, codeValue, codeTooLarge, codeFull, codeUncertain)
	id, match := path("id", "The session's ID."), header("If-Match", `The ETag that GET returned, which is the revision in quotes, or a list of them, or * for any revision. Required.`)

	route(a, operation{
		pattern: "POST /v1/sessions", id: "create-session", tag: tagBrowser, summary: "Create a session",
		text:   "For a browser without a session: anonymous, or with a subject logged in. To log in a browser that has a session, use POST /v1/sessions/login.",
		params: []*huma.Param{header("Idempotency-Key", "Allows the request to be repeated within 24 hours, if its answer was lost: 1 to 255 bytes, new for each session. A repeat must have the same body, byte for byte. It returns the same session with a new token. The token that was issued before stays valid until the new one is used. After a login or elevation has renewed the session, a repeat is refused: superseded. It has no effect on a sealed session: a repeat makes another one.")},
		body:   v1.Create{Values: map[string]json.RawMessage{"cart": json.RawMessage(`{"items":[{"sku":"tent","quantity":1}]}`)}, Client: client},
		status: http.StatusCreated, answer: example,
		codes: with(body, codeSubject, codeValue, codeTooLarge, codeReused, codeRepeats, codeEnded, codeSuperseded, codeConflict, codeLimit, codeFull, codeUncertain),
	}, create)
	route(a, operation{
		pattern: "POST /v1/sessions/resolve", id: "resolve-session", tag: tagBrowser, summary: "Get the session of a token",
		text:   "For each request of a browser. It counts as activity.",
		body:   v1.Resolve{Presented: presented},
		answer: v1.Resolved{Session: exampleSession()}, codes: with(browsers, codeSubject, codeValue),
	}, resolve)
	route(a, operation{
		pattern: "POST /v1/sessions/update", id: "update-session", tag: tagBrowser, summary: "Change values of a browser's session",
		text:   "Parallel updates of different keys do not disturb each other. For one key the last update wins, unless if_revision is given.",
		body:   v1.Update{Presented: presented, Changes: changed, IfRevision: &revision},
		answer: v1.Updated{Session: exampleSession()},
		codes:  with(changes, codeValue, codeTooLarge, codeRevision, codeFull),
	}, update)
	route(a, operation{
		pattern: "POST /v1/sessions/login", id: "log-in", tag: tagBrowser, summary: "Log a user in",
		text:   "After the application has authenticated them. The token is renewed, and the old one is invalid at once. The session keeps its values, unless another user was logged in to it. Without a live token there is a new session.",
		body:   v1.Login{Presented: presented, Subject: new("u-1815"), AMR: []string{"pwd"}, Level: &level},
		answer: example,
		codes:  with(browsers, codeSubject, codeValue, codeEnded, codeConflict, codeLimit, codeFull, codeUncertain),
	}, login)
	route(a, operation{
		pattern: "POST /v1/sessions/elevate", id: "elevate-session", tag: tagBrowser, summary: "Record a further factor",
		text:   "Use it also, with the same level, when the user's rights or password change. The token is renewed, and the old one is invalid at once.",
		body:   v1.Elevate{Presented: presented, Level: &elevated, AMR: []string{"otp"}},
		answer: example, codes: with(changes, codeAnonymous, codeValue, codeFull),
	}, elevate)
	route(a, operation{
		pattern: "POST /v1/sessions/rotate", id: "rotate-session", tag: tagBrowser, summary: "Renew a token",
		text:   "Resolve does so by itself from time to time while somebody is logged in. The token of an anonymous session is renewed only by this call. The old token stays valid for requests in flight. While another renewal is in progress nothing changes, and the token that was sent is returned.",
		body:   presented,
		answer: example, codes: with(changes, codeFull),
	}, rotate)
	route(a, operation{
		pattern: "POST /v1/sessions/regenerate", id: "regenerate-session", tag: tagBrowser, summary: "End a session, and go on in a new one",
		text:   "Nobody is logged in to the new session. The old one never comes back.",
		body:   v1.Regenerate{Presented: presented, Keep: []string{"cart"}},
		answer: example, codes: with(changes, codeFull),
	}, regenerate)
	route(a, operation{
		pattern: "POST /v1/sessions/logout", id: "log-out", tag: tagBrowser, summary: "End a browser's session",
		text:   "The session never comes back. Without a live token the answer clears the cookies too.",
		body:   presented,
		answer: v1.LoggedOut{SetCookie: []string{"__Host-shop-session=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax", "__Host-shop-session=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax; Partitioned"}},
		codes:  with(browsers, codeUncertain),
	}, logout)

	route(a, operation{
		pattern: "GET /v1/sessions", id: "list-sessions", tag: tagOperator, summary: "List live sessions",
		text: "With a subject in the order of their creation. Otherwise the store decides the order.",
		params: []*huma.Param{
			query("subject", "Only the sessions of this user.", &huma.Schema{Type: "string"}),
			query("limit", "The length of a page. Default 100.", &huma.Schema{Type: "integer", Minimum: number(1), Maximum: number(1000)}),
			query("cursor", "The next_cursor of the page before.", &huma.Schema{Type: "string"}),
			query("values", "true includes the values of the sessions. Then a page has at most 4 MiB of them, and may be shorter than limit although another page follows.", &huma.Schema{Type: "boolean"}),
			query("ended", "true adds, with a subject, the sessions of the user that ended within the last hour. Sessions that were ended with all=true are not among them.", &huma.Schema{Type: "boolean"}),
		},
		answer: v1.Sessions{Sessions: []*v1.Session{&alone}}, codes: []code{codeInvalid, codeCursor, codeUnsupported},
	}, list)
	yes, moment := &huma.Schema{Type: "boolean"}, &huma.Schema{Type: "string", Format: "date-time"}
	route(a, operation{
		pattern: "GET /v1/sessions/search", id: "search-sessions", tag: tagOperator, summary: "Search live sessions",
		text: "A session must meet every condition. An answer comes after about a quarter of a second, with what was found by then: continue with its cursor and the same conditions, or stop. A subject is found at once. Other conditions may need all sessions to be examined.",
		params: []*huma.Param{
			query("subject", "The sessions of this user.", &huma.Schema{Type: "string"}),
			query("subject_prefix", "The user's ID begins with it.", &huma.Schema{Type: "string"}),
			query("logged_in", "Whether a user is logged in. With false, only anonymous sessions.", yes),
			query("remembered", "Whether the user asked to stay signed in.", yes),
			query("level", "The lowest level of the authentication.", &huma.Schema{Type: "integer", Minimum: number(0), Maximum: number(3)}),
			query("network", "An address, or a network such as 203.0.113.0/24, of the client at creation or at the last activity.", &huma.Schema{Type: "string"}),
			query("user_agent", "A part of the user agent at creation or at the last activity. The case of ASCII letters doesn't matter.", &huma.Schema{Type: "string"}),
			query("created_from", "The earliest creation.", moment),
			query("created_to", "The creation is before it.", moment),
			query("seen_from", "The earliest last activity.", moment),
			query("seen_to", "The last activity is before it.", moment),
			query("limit", "The most sessions of a page. Default 100.", &huma.Schema{Type: "integer", Minimum: number(1), Maximum: number(1000)}),
			query("cursor", "The next_cursor of the page before.", &huma.Schema{Type: "string"}),
		},
		answer: v1.Found{Sessions: []*v1.Session{&alone}, Examined: 20000, Share: 0.25, NextCursor: "i20000.0f"}, codes: []code{codeInvalid, codeCursor},
	}, search)
	route(a, operation{
		pattern: "DELETE /v1/sessions", id: "end-sessions", tag: tagOperator, summary: "End a user's sessions, or all",
		text: "A login that is in progress fails.",
		params: []*huma.Param{
			query("subject", "The user whose sessions end.", &huma.Schema{Type: "string"}),
			query("except", "The ID of a session to keep: log out everywhere else.", &huma.Schema{Type: "string", Format: "uuid"}),
			query("all", "true ends every session of the application, anonymous ones too.", &huma.Schema{Type: "boolean", Enum: []any{true}}),
		},
		answer: v1.Ended{Ended: &three}, codes: []code{codeInvalid, codeSubject, codeUncertain, codeUnsupported},
	}, endMany)
	route(a, operation{
		pattern: "GET /v1/sessions/{id}", id: "get-session", tag: tagOperator, summary: "Get a session",
		text:   "With its values. It does not count as activity.",
		params: []*huma.Param{id}, answer: *exampleSession(), tagged: true, codes: []code{codeNoSession, codeInvalid, codeUnsupported},
	}, get)
	route(a, operation{
		pattern: "DELETE /v1/sessions/{id}", id: "end-session", tag: tagOperator, summary: "End a session",
		text:   "Its user is signed out, and the session never comes back.",
		params: []*huma.Param{id}, status: http.StatusNoContent, codes: []code{codeNoSession, codeInvalid, codeUncertain, codeUnsupported},
	}, end)
	route(a, operation{
		pattern: "POST /v1/sessions/{id}/touch", id: "touch-session", tag: tagOperator, summary: "Count as activity",
		text:   "It is for activity that comes without the browser's token, such as a message on a WebSocket. (With the token, resolve does the same.) It moves the idle deadline, and changes neither the client nor the revision. It changes nothing if the last activity is less than a minute old, or less than a twentieth of the idle limit if that is shorter. The answer is the session without its values.",
		params: []*huma.Param{id}, answer: alone, tagged: true, codes: []code{codeNoSession, codeInvalid, codeUncertain, codeUnsupported},
	}, touch)
	route(a, operation{
		pattern: "PUT /v1/sessions/{id}/values", id: "replace-values", tag: tagOperator, summary: "Replace all values of a session",
		text:   "The session has exactly these values afterwards. A null is a value like any other, at every depth. It does not count as activity.",
		params: []*huma.Param{id, match},
		body:   v1.Patch{"cart": json.RawMessage(`{"items":[]}`), "draft": json.RawMessage(`null`)},
		answer: *exampleSession(), tagged: true, codes: writes,
	}, replace)
	route(a, operation{
		pattern: "PUT /v1/sessions/{id}/values/{key}", id: "set-value", tag: tagOperator, summary: "Set or replace one value of a session",
		text:   "The body is the value: any JSON. Unlike a patch, it replaces objects as a whole, and keeps nulls. To remove a value, patch it with null. It does not count as activity.",
		params: []*huma.Param{id, path("key", "The key of the value, percent-encoded: any key except a slash alone."), match},
		body:   v1.Value(`{"items":[{"sku":"tent","quantity":2}],"coupon":null}`),
		answer: *exampleSession(), tagged: true, codes: writes,
	}, setValue)
	route(a, operation{
		pattern: "PATCH /v1/sessions/{id}/values", id: "patch-values", tag: tagOperator, summary: "Change a session's values",
		text:   "A JSON Merge Patch (RFC 7396): null removes a member, objects are merged, all else replaces. It does not count as activity.",
		params: []*huma.Param{id, match},
		body:   v1.Patch{"theme": json.RawMessage(`"dark"`), "draft": json.RawMessage(`null`)}, media: "application/merge-patch+json",
		answer: *exampleSession(), tagged: true,
		codes: writes,
	}, patch)

	keyed := with(body, codeUnsupported, codeEnded, codeSuperseded, codeConflict, codeValue, codeTooLarge, codeSubject, codeLimit, codeFull, codeUncertain)
	route(a, operation{
		pattern: "POST /v1/keyed/get", id: "get-keyed", tag: tagKeyed, summary: "Get the session of a key",
		text:   "It does not count as activity.",
		body:   v1.KeyedGet{Keyed: key},
		answer: v1.KeyedFound{Session: exampleSession()}, codes: with(body, codeUnsupported),
	}, keyedGet)
	route(a, operation{
		pattern: "POST /v1/keyed/set", id: "set-keyed", tag: tagKeyed, summary: "Create or change the session of a key",
		text:   "Changes of different values by parallel requests all land, also if they create the session. A session that has ended is not created again if update is true, or if it ended less than an hour ago. It counts as activity.",
		body:   v1.KeyedSet{Keyed: key, Changes: changed, Update: true, Idle: 1800},
		answer: v1.KeyedSession{Session: exampleSession()}, codes: keyed,
	}, keyedSet)
	route(a, operation{
		pattern: "POST /v1/keyed/touch", id: "touch-keyed", tag: tagKeyed, summary: "Count as activity",
		text:   "It moves the idle deadline.",
		body:   v1.KeyedTouch{Keyed: key},
		answer: v1.KeyedSession{Session: exampleSession()}, codes: with(keyed, codeNoSession),
	}, keyedTouch)
	route(a, operation{
		pattern: "POST /v1/keyed/end", id: "end-keyed", tag: tagKeyed, summary: "End the session of a key",
		text: "The session never comes back. If there is none, the call does nothing.",
		body: key, status: http.StatusNoContent, codes: with(body, codeUncertain, codeUnsupported),
	}, keyedEnd)
	if a.opt.Events != nil {
		route(a, operation{
			pattern: "GET /v1/events", id: "stream-events", tag: tagServer, summary: "Stream events",
			text: "Server-sent events: each has the ID of the event, and its JSON as data. The server keeps the last 10,000 events of the application. An event of the kind gap stands for missing events. Each process of the server sends only its own events.",
			params: []*huma.Param{
				header("Last-Event-ID", "Begin after this event."),
				query("last", "Begin with so many past events. Default 0.", &huma.Schema{Type: "integer", Minimum: number(0), Maximum: number(10_000)}),
				query("follow", "false ends the stream when there are no more events.", &huma.Schema{Type: "boolean"}),
			},
			stream: true, codes: []code{codeInvalid, codeStream},
		}, stream)
	}
	route(a, operation{
		pattern: "GET /v1/stats", id: "get-stats", tag: tagServer, summary: "Count live sessions",
		text:   "Of the key's application.",
		answer: v1.Stats{Sessions: 1204, LoggedIn: 310, Anonymous: 894}, codes: []code{codeInvalid, codeUnsupported},
	}, stats)
}

const (
	exampleToken = "AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"
	exampleAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
)

func exampleSession() *v1.Session {
	at := time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)
	id, _ := sojourn.ParseID("019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21")
	return &v1.Session{
		ID: id.String(), Subject: "u-1815", CreatedAt: at, AuthenticatedAt: at.Add(time.Minute), LastSeenAt: at.Add(10 * time.Minute),
		IdleExpiresAt: at.Add(24*time.Hour + 10*time.Minute), ExpiresAt: at.Add(30 * 24 * time.Hour), AMR: []string{"pwd"}, Level: 1,
		Client: v1.Browser{IP: "203.0.113.7", UserAgent: exampleAgent, Name: "Firefox on Linux"}, Revision: 3,
		Values: v1.Values(`{"cart":{"items":[{"sku":"tent","quantity":1}]}}`),
	}
}

func path(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: "string"}}
}

func query(name, doc string, s *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: s}
}

func header(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: doc, Schema: &huma.Schema{Type: "string"}}
}

func with(base []code, more ...code) []code { return slices.Concat(base, more) }

func number(n float64) *float64 { return &n }

// route adds an operation. F answers it.
func route[In, Out any](a *API, op operation, f func(context.Context, *call, *In) (*Out, error)) {
	if op.status == 0 {
		op.status = http.StatusOK
	}
	a.document(&op)
	a.handle(op.pattern, func(c *call) { serve(&op, c, f) })
}

// handle makes f answer a method of a path.
func (a *API) handle(pattern string, f func(*call)) {
	method, path, _ := strings.Cut(pattern, " ")
	if a.paths[path] == nil {
		a.paths[path] = map[string]func(*call){}
		a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			c := w.(*call)
			c.r = r // has the path's values
			a.dispatch(c, path)
		})
	}
	a.methods[path] = append(a.methods[path], method)
	a.paths[path][method] = f
}

// dispatch calls the function of the request's method.
func (a *API) dispatch(c *call, path string) {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if f := a.paths[path][method]; f != nil {
		f(c)
		return
	}
	allow := strings.Join(a.methods[path], ", ")
	c.w.Header().Set("Allow", allow)
	p := problemOf(codeMethod)
	p.Detail = "This path accepts " + allow + "."
	c.problem(p)
}

// describe starts the description.
func (a *API) describe() {
	a.doc = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Sojourn", Version: a.opt.Version,
			Description: "Web sessions for applications in any language. Each request sends an API key, and sees only the sessions of that key's application. " +
				"An answer that is not a success is a problem (RFC 9457), with a code that never changes. Later versions may add fields to answers. Unknown fields in a request are refused.",
			License: &huma.License{Name: "MIT", Identifier: "MIT"},
			Contact: &huma.Contact{Name: "Sojourn", URL: "https://github.com/sojourn-go/sojourn"},
		},
		Servers: []*huma.Server{{URL: "http://127.0.0.1:7081", Description: "The default address of the API (api.listen in the configuration)."}},
		Tags: []*huma.Tag{
			{Name: tagBrowser, Description: "Operations for a browser, by its token."},
			{Name: tagOperator, Description: "Operations for an operator or the application itself, by a session's ID."},
			{Name: tagKeyed, Description: "Sessions under a key of the application's own. They are for the session stores of web frameworks, which have a cookie of their own. Such a session has no token. The calls by ID work on it, too."},
			{Name: tagServer, Description: "Events and counts."},
		},
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key of the application. sojournd keys new makes one."}},
		},
		Security: []map[string][]string{{"key": {}}},
	}
}

// The groups of operations.
const (
	tagBrowser  = "browser"
	tagOperator = "operator"
	tagKeyed    = "keyed"
	tagServer   = "server"
)

// document adds an operation to the description.
func (a *API) document(op *operation) {
	schemas := a.doc.Components.Schemas
	method, path, _ := strings.Cut(op.pattern, " ")
	d := &huma.Operation{
		Method: method, Path: path, OperationID: op.id, Tags: []string{op.tag}, Summary: op.summary, Description: op.text,
		Parameters: op.params, Responses: map[string]*huma.Response{},
	}
	if op.body != nil {
		media := &huma.MediaType{Schema: schemas.Schema(reflect.TypeOf(op.body), true, ""), Example: plain(op.body)}
		d.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": media}}
		if op.media != "" {
			d.RequestBody.Content[op.media] = media
		}
	}
	success := &huma.Response{Description: http.StatusText(op.status)}
	switch {
	case op.stream:
		success.Description = "A stream of events"
		success.Content = map[string]*huma.MediaType{"text/event-stream": {Schema: a.events()}}
	case op.answer != nil:
		success.Content = map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeOf(op.answer), true, ""), Example: plain(op.answer)}}
	}
	if op.tagged {
		success.Headers = map[string]*huma.Param{"ETag": {Description: "The revision, for If-Match.", Schema: &huma.Schema{Type: "string"}}}
	}
	d.Responses[strconv.Itoa(op.status)] = success

	byStatus := map[int][]code{}
	for _, c := range slices.Concat(op.codes, everywhere) {
		byStatus[c.status] = append(byStatus[c.status], c)
	}
	for status, list := range byStatus {
		var text []string
		for _, c := range list {
			text = append(text, fmt.Sprintf("%s: %s", c.name, c.detail))
		}
		d.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: strings.Join(text, "\n\n"),
			Content: map[string]*huma.MediaType{"application/problem+json": {
				Schema: schemas.Schema(reflect.TypeFor[v1.Problem](), true, ""), Example: plain(exampleProblem(list[0])),
			}},
		}
	}
	a.doc.AddOperation(d)
}

func exampleProblem(c code) *v1.Problem {
	p := problemOf(c)
	switch c {
	case codeNotLive:
		p.Why = "logout"
	case codeInvalid:
		p = invalid("/token", "is missing")
	}
	return p
}

// events describes the stream: a text with JSON as the data of each event.
func (a *API) events() *huma.Schema {
	stream := &huma.Schema{Type: "string", Description: "Server-sent events. The data of each is JSON that contentSchema describes."}
	event := a.doc.Components.Schemas.Schema(reflect.TypeFor[v1.Event](), true, "")
	stream.Extensions = map[string]any{"contentMediaType": "application/json", "contentSchema": event}
	return stream
}

// plain returns an example as maps and lists, for encoding/json.
func plain(value any) (v any) {
	text, err := v2.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		panic(err) // the examples above are wrong
	}
	return v
}

// finish adds the answer for all other paths, and /openapi.json.
func (a *API) finish() error {
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.(*call).problem(problemOf(codeNotFound)) })
	code := a.doc.Components.Schemas.Map()["Problem"].Properties["code"]
	for _, c := range allCodes {
		code.Enum = append(code.Enum, c.name)
	}
	text, err := json.Marshal(a.doc)
	if err != nil {
		return fmt.Errorf("api: describe the API: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("api: describe the API: %w", err)
	}
	a.openapi = b.Bytes()
	a.handle("GET /openapi.json", func(c *call) {
		c.route = "GET /openapi.json"
		c.Header()["Content-Type"] = plainJSON
		_, _ = c.Write(a.openapi)
	})
	return nil
}
