module github.com/sojourn-go/sojourn/sojournd

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/go-crypt/crypt v0.14.15
	github.com/mileusna/useragent v1.3.5
	github.com/sojourn-go/sojourn v0.0.0
	golang.org/x/text v0.43.0
)

require (
	github.com/go-crypt/x v0.4.16 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/sojourn-go/sojourn => ../
