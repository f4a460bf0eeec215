package v1

import "github.com/danielgtaylor/huma/v2"

// Keyed names a session by a key of the application's own.
type Keyed struct {
	Key    *string        `json:"key" nullable:"false" minLength:"16" maxLength:"1024" doc:"The application's own name of the session, such as the value of its own cookie: hard to guess, new for each session. The server keeps only a hash." example:"m9dRzGBM4p0xXoHtYdqSbGgkzQlEy8eU"`
	Client *RequestClient `json:"client,omitempty"`
}

// KeyedGet asks for the session of a key.
type KeyedGet struct {
	Keyed
}

// KeyedFound is the answer to KeyedGet.
type KeyedFound struct {
	_ struct{} `additionalProperties:"true"`

	Session *Session `json:"session"`
	Why     string   `json:"why,omitempty" enum:"idle,absolute,logout,revoked,evicted" doc:"Why there is no session any more. Absent if the server does not know the key, or no longer."`
}

// TransformSchema implements huma.SchemaTransformer. The session may be null.
func (*KeyedFound) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["session"] = orNull(s.Properties["session"], "null: there is no session under this key.")
	return s
}

// KeyedSet creates a session under a key, or changes its values.
type KeyedSet struct {
	Keyed
	Changes

	Update  bool    `json:"update,omitempty" doc:"The application has read the session before. If it is gone, it has ended, and the answer is 409 ended. Without update, the session is created again if it ended more than an hour ago, because the server has then forgotten its end."`
	Subject *string `json:"subject,omitempty" nullable:"false" minLength:"1" doc:"The user who is logged in from now on. Sending the same one again changes nothing." example:"u-1815"`
	Idle    int     `json:"idle,omitzero" minimum:"0" maximum:"34560000" doc:"The session's idle limit in seconds, if it is shorter than the policy's. 0, the default: as it is."`
}

// KeyedTouch counts as activity.
type KeyedTouch struct {
	Keyed

	Idle int `json:"idle,omitzero" minimum:"0" maximum:"34560000" doc:"As for set."`
}

// KeyedSession is a session without its token, since it has none.
type KeyedSession struct {
	_ struct{} `additionalProperties:"true"`

	Session *Session `json:"session"`
}
