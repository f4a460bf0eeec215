module github.com/sojourn-go/sojourn/drivers/redisstore

go 1.26.0

replace github.com/sojourn-go/sojourn => ../../

require (
	github.com/redis/rueidis v1.0.79
	github.com/sojourn-go/sojourn v0.0.0
)

require golang.org/x/sys v0.49.0 // indirect
