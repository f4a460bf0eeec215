package dbsc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Proof is a DBSC proof: a JWT that a browser signed (section 9.10 of the
// draft; RFC 7515, section 3.1).
type Proof struct {
	// Challenge is what the browser signed (jti).
	Challenge string

	// Authorization is the parameter of that name in the registration's header
	// field. Empty: there was none.
	Authorization string

	// Key is the key that a registration brings. Nil: the proof is a refresh's.
	// SignedBy tells whether it signed the proof.
	Key Key

	algorithm string
	signed    string // the JWT without its signature
	signature []byte
}

// Parse reads a proof, and checks all of it except the signature and the
// challenge. It refuses whatever could be read in two ways: members that occur
// twice, base64url with padding, line breaks or stray bits, text that isn't
// UTF-8, and proofs longer than 16 KiB. It ignores members that it doesn't know,
// as RFC 7515 and RFC 7519 say, except "crit". The aud, iat and sub of earlier
// drafts are among them: the challenge says all of that.
func Parse(jwt string) (*Proof, error) {
	if len(jwt) > maxField {
		return nil, fmt.Errorf("dbsc: the proof has %d bytes, and may have %d", len(jwt), maxField)
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, errors.New("dbsc: a proof has three parts: header, payload and signature")
	}
	header, err := decodeObject(parts[0])
	if err != nil {
		return nil, fmt.Errorf("dbsc: the header %w", err)
	}
	payload, err := decodeObject(parts[1])
	if err != nil {
		return nil, fmt.Errorf("dbsc: the payload %w", err)
	}
	p := &Proof{signed: jwt[:len(jwt)-len(parts[2])-1]}
	if p.signature, err = decodeBase64(parts[2]); err != nil {
		return nil, fmt.Errorf("dbsc: the signature %w", err)
	}
	if typ, _ := header.text("typ"); typ != "dbsc+jwt" {
		return nil, errors.New("dbsc: typ must be dbsc+jwt")
	}
	if p.algorithm, _ = header.text("alg"); p.algorithm != ES256 && p.algorithm != RS256 {
		return nil, errors.New("dbsc: alg must be ES256 or RS256")
	}
	if header["crit"] != nil {
		return nil, errors.New("dbsc: the header has crit, and this package knows no extension (RFC 7515, section 4.1.11)")
	}
	if raw := header["jwk"]; raw != nil {
		if p.Key, err = parseJWK(raw, p.algorithm); err != nil {
			return nil, fmt.Errorf("dbsc: jwk: %w", err)
		}
	}
	if p.Challenge, err = payload.text("jti"); err != nil {
		return nil, fmt.Errorf("dbsc: %w", err)
	}
	if payload["authorization"] != nil {
		if p.Authorization, err = payload.text("authorization"); err != nil {
			return nil, fmt.Errorf("dbsc: %w", err)
		}
	}
	return p, nil
}

// SignedBy reports whether the holder of the key signed the proof.
func (p *Proof) SignedBy(k Key) bool {
	return p.algorithm == k.Algorithm() && k.verify(p.signed, p.signature)
}

// An object is a JSON object whose members have not been read yet.
type object map[string]json.RawMessage

func decodeObject(part string) (object, error) {
	text, err := decodeBase64(part)
	if err != nil {
		return nil, err
	}
	return parseObject(text)
}

// parseObject reads a JSON object (RFC 8259) in which no name occurs twice.
func parseObject(text []byte) (object, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("isn't UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("is no JSON object")
	}
	o := object{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errors.New("is malformed JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("is malformed JSON")
		}
		if o[name.(string)] != nil { // after {, a decoder returns no other token
			return nil, fmt.Errorf("has %q twice", name)
		}
		o[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("is malformed JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("goes on after the JSON object")
	}
	return o, nil
}

// text returns a member that must be a string, and not an empty one.
func (o object) text(name string) (s string, err error) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil || s == "" {
		return "", fmt.Errorf("%s must be a string that isn't empty", name)
	}
	return s, nil
}

// decodeBase64 decodes base64url in its one canonical form (RFC 7515, section 2).
func decodeBase64(text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("isn't base64url without padding")
	}
	return b, nil
}
