package shop

import (
	"log/slog"
	"net/http"
)

// AnswerError answers a request with an error of the session engine that no handler of the shop has seen. It is for
// Options.OnError of the engine.
func AnswerError(w http.ResponseWriter, r *http.Request, err error) {
	v := &visit{
		shop: &Shop{Options: Options{Log: slog.Default()}}, w: w, r: r,
		json: wantsJSON(r),
	}
	v.lang, v.other = acceptedLanguage(r.Header.Get("Accept-Language"))
	v.fail(err)
}
