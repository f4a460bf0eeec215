package fibersessions

// ForgetOutage makes the next outage be logged.
func ForgetOutage() { lastOutage.Store(0) }
