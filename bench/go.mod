module github.com/sojourn-go/sojourn/bench

go 1.26

require github.com/sojourn-go/sojourn v0.0.0

replace github.com/sojourn-go/sojourn => ../
