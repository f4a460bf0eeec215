package api

import (
	"bytes"
	"crypto/rand"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// writeDeep writes body as json.MarshalWrite does, however deep the values of
// its sessions are nested. An application may have stored them before there was
// a limit of depth, and must be able to read them. They are put in after the
// rest was encoded, in place of words that nobody can guess.
func writeDeep(buf *bytes.Buffer, body any) error {
	word := rand.Text()
	var values []object
	stand := json.MarshalToFunc(func(e *jsontext.Encoder, o object) error {
		values = append(values, o)
		return e.WriteToken(jsontext.String(word + strconv.Itoa(len(values))))
	})
	text, err := json.Marshal(body, json.Deterministic(true), json.WithMarshalers(stand))
	if err != nil {
		return err
	}
	for i, o := range values {
		before, after, _ := bytes.Cut(text, []byte(strconv.Quote(word+strconv.Itoa(i+1))))
		buf.Write(before)
		buf.Write(o)
		text = after
	}
	buf.Write(text)
	return nil
}
