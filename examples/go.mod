module github.com/sojourn-go/sojourn/examples

go 1.26

require github.com/sojourn-go/sojourn v0.0.0

require github.com/go-chi/chi/v5 v5.5.0

replace github.com/sojourn-go/sojourn => ../
