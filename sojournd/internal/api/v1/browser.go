package v1

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// A RequestClient tells who sent the browser's request to the application. It
// is not called Client, because code generators use that name themselves.
type RequestClient struct {
	IP        string `json:"ip,omitzero" doc:"The browser's address." example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitzero" doc:"The browser's User-Agent header." example:"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"`
}

// Create asks for a new session.
type Create struct {
	Subject *string                    `json:"subject,omitempty" nullable:"false" minLength:"1" doc:"The user to log in, after the application has authenticated them: an ID that never changes. Default: the session is anonymous." example:"u-1815"`
	Values  map[string]json.RawMessage `json:"values,omitempty" maxProperties:"1000" doc:"The application's data: key to any JSON."`
	Client  *RequestClient             `json:"client,omitempty"`

	Lasting
}

// Lasting is how long a login lasts, and its cookie.
type Lasting struct {
	Remember           bool `json:"remember,omitempty" doc:"Keep the user signed in for longer."`
	ExpiresIn          *int `json:"expires_in,omitempty" nullable:"false" minimum:"1" doc:"The longest life of the session, in seconds from the login. Default, and the most: what the configuration says." example:"28800"`
	Idle               *int `json:"idle,omitempty" nullable:"false" minimum:"1" doc:"The longest time without activity, in seconds. Default, and the most: what the configuration says." example:"900"`
	UntilBrowserCloses bool `json:"until_browser_closes,omitempty" doc:"Set a cookie without Max-Age, which the browser drops when it closes. The deadlines of the session stay. Not with remember."`
}

// Issued is a session with the token that is valid for it.
type Issued struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Token     string   `json:"token" doc:"Authenticates the browser. A secret: send it to that browser and nowhere else." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie" nullable:"false" doc:"The values of Set-Cookie headers. Send each to the browser as a header of its own, with Cache-Control: no-store." example:"[\"__Host-shop-session=AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt; Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Lax\"]"`
	Headers   Headers  `json:"headers,omitempty" doc:"Further headers for the browser, if sessions can be bound: send them with set_cookie. They ask it to bind its session to a key."`
}

// Presented is what a browser's request presented to the application: Token, or
// Cookie.
type Presented struct {
	Token  *string        `json:"token,omitempty" nullable:"false" minLength:"1" doc:"The value of the browser's cookie. Send it, or cookie." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	Cookie *string        `json:"cookie,omitempty" nullable:"false" maxLength:"65536" doc:"In place of token: the Cookie header of the browser's request as it came, empty if there was none. The server knows the names of its two cookies, and copes with several of one name." example:"theme=dark; __Host-shop-session=AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	Proofs []string       `json:"proofs,omitempty" nullable:"false" maxItems:"8" doc:"With token: the values of the browser's cookies that prove a bound session. Their names begin with the name of the session's cookie and -bound-. With cookie the server finds them itself."`
	Safe   bool           `json:"safe,omitempty" doc:"With cookie: the method of the browser's request is GET or HEAD. For 30 seconds after the end of the browser's session, only such a request begins a new one."`
	Age    int            `json:"age,omitempty" minimum:"0" maximum:"86400000" doc:"How many milliseconds ago the browser's request reached the application. A token is judged as of then, so that a long upload does not look like a stolen cookie. Default 0."`
	Client *RequestClient `json:"client,omitempty"`
}

// Adopt is what to keep of a session of another library.
type Adopt struct {
	Subject *string                    `json:"subject,omitempty" nullable:"false" minLength:"1" doc:"The user who is signed in there. Default: a visitor." example:"u-1815"`
	Values  map[string]json.RawMessage `json:"values,omitempty" maxProperties:"1000" doc:"The values to keep. A value that a session can't hold is left out, and the event adopted names it."`
	AMR     []string                   `json:"amr,omitempty" nullable:"false" doc:"How the user authenticated (RFC 8176)."`
	Level   *int                       `json:"level,omitempty" minimum:"0" maximum:"3" doc:"The level of the authentication. Default 1."`
	Lasting
}

// Resolve asks for the session of a browser.
type Resolve struct {
	Presented

	Old     *string  `json:"old,omitempty" nullable:"false" minLength:"16" maxLength:"4096" doc:"With cookie: the token of another library's session, which the application has checked. If the browser has no live session of the server, the answer is the session that has adopted this one, or null with why adopt."`
	Adopt   *Adopt   `json:"adopt,omitempty" doc:"With old: what the application has read under the old token. It becomes a session, unless the token was adopted before."`
	Require *Require `json:"require,omitempty" nullable:"false" doc:"What the browser's session must have. If it has not, unmet says what is missing. The session is read from the store itself."`
	Passive bool     `json:"passive,omitempty" doc:"The request does not count as activity of the user. Use it for a page that polls."`
}

// Require is what a page demands of a browser's session, besides a login.
type Require struct {
	Level int  `json:"level,omitempty" minimum:"0" maximum:"3" doc:"The lowest level of the login. Default 0."`
	Fresh int  `json:"fresh,omitempty" minimum:"0" maximum:"2147483647" doc:"How many seconds ago the user may have authenticated. Default 0: any time." example:"600"`
	Bound bool `json:"bound,omitempty" doc:"The session is bound to its browser, and the request has proved that it comes from there. bound.require_level in the configuration demands it too, from a level on."`
}

// Resolved is the answer to Resolve.
type Resolved struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Why       string   `json:"why,omitempty" enum:"unknown,idle,absolute,logout,revoked,evicted,theft,superseded,throttled,unproven,adopt" doc:"Why there is no session. unproven: the session is bound to a browser, of which the request has no proof; serve the visitor as anonymous, with headers. adopt: the old token was not adopted yet; read its session, and send it. throttled: the token was not looked up, because too many bad tokens came from the client's address; serve the visitor as anonymous. All others except unknown, unproven and adopt are told only to a token that was valid once."`
	Unmet     string   `json:"unmet,omitempty" enum:"anonymous,unproven,level,not_fresh,unbound" doc:"With require: what the session lacks. anonymous: a login. unproven: the browser's proof; its page bound/ gets one. level, not_fresh: a further factor, or a new authentication. unbound: a key of the browser."`
	Token     string   `json:"token,omitempty" doc:"Present if the secret was renewed: the new token, which set_cookie holds too." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie,omitempty" nullable:"false" doc:"Present if the secret was renewed, or a cookie must go, also if there is no session: send these Set-Cookie headers to the browser, with Cache-Control: no-store."`
	Headers   Headers  `json:"headers,omitempty" doc:"Further headers for the browser, with Cache-Control: no-store, if sessions can be bound. They ask it to bind its session to a key, or to prove that it has the key."`
}

// TransformSchema implements huma.SchemaTransformer. The session may be null.
func (*Resolved) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["session"] = orNull(s.Properties["session"], "null: the token does not belong to a live session.")
	return s
}

func orNull(s *huma.Schema, doc string) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{s, {Type: "null"}}, Description: doc}
}

// Changes are what happens to a session's values.
type Changes struct {
	Set    map[string]json.RawMessage `json:"set,omitempty" maxProperties:"1000" doc:"Keys to set. Parallel updates of different keys do not disturb each other."`
	Delete []string                   `json:"delete,omitempty" nullable:"false" maxItems:"1000" doc:"Keys to remove."`
	Values map[string]json.RawMessage `json:"values,omitempty" maxProperties:"1000" doc:"In place of set and delete: all values of the session from now on. {} removes all."`
}

// Update changes values of a session.
type Update struct {
	Presented
	Changes

	IfRevision *uint64 `json:"if_revision,omitempty" doc:"Change nothing unless the session is at this revision." example:"3"`
}

// Updated is the answer to Update.
type Updated struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Token     string   `json:"token,omitempty" doc:"As for resolve." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie,omitempty" nullable:"false" doc:"As for resolve."`
	Headers   Headers  `json:"headers,omitempty" doc:"As for resolve."`
}

// Login logs a user in.
type Login struct {
	Presented

	Subject *string  `json:"subject" nullable:"false" minLength:"1" doc:"The user, after the application has authenticated them: an ID that never changes." example:"u-1815"`
	AMR     []string `json:"amr,omitempty" nullable:"false" doc:"How the user authenticated (RFC 8176)." example:"[\"pwd\"]"`
	Level   *int     `json:"level,omitempty" minimum:"0" maximum:"3" doc:"The level of the authentication. Default 1."`

	Lasting
}

// Elevate records a further factor.
type Elevate struct {
	Presented

	Level *int     `json:"level" nullable:"false" minimum:"0" maximum:"3" doc:"The level of the authentication from now on." example:"2"`
	AMR   []string `json:"amr,omitempty" nullable:"false" doc:"The further factor (RFC 8176)." example:"[\"otp\"]"`
}

// Regenerate ends a session in favour of a new one.
type Regenerate struct {
	Presented

	Keep []string `json:"keep,omitempty" nullable:"false" maxItems:"1000" doc:"The keys of the values that the new session takes over. Default: none." example:"[\"cart\"]"`
}

// LoggedOut is the answer to a logout.
type LoggedOut struct {
	_ struct{} `additionalProperties:"true"`

	SetCookie []string `json:"set_cookie" nullable:"false" doc:"Set-Cookie headers that clear the browser's cookies."`
}
