package pages

import (
	"strings"
	"unicode"
)

// A rule names what a part of a user agent stands for.
type rule struct{ part, name string }

// browsers are tried in order: most browsers also name those that they descend
// from, so Edge says Chrome and Safari too.
var browsers = []rule{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"Edge/", "Edge"},
	{"OPR/", "Opera"}, {"Opera", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"}, {"YaBrowser/", "Yandex"}, {"DuckDuckGo/", "DuckDuckGo"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"},
	{"Trident/", "Internet Explorer"}, {"MSIE ", "Internet Explorer"},
	{"Safari/", "Safari"},
}

// systems are tried in order, too: Android says Linux, and iOS says Mac OS X.
var systems = []rule{
	{"iPhone", "iOS"}, {"iPod", "iOS"}, {"iPad", "iPadOS"}, {"Android", "Android"}, {"CrOS", "ChromeOS"}, {"Windows", "Windows"},
	{"Macintosh", "macOS"}, {"Mac OS X", "macOS"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"}, {"Linux", "Linux"}, {"X11", "Linux"},
}

// first returns the name of the first rule whose part a user agent has.
func first(rules []rule, agent string) string {
	for _, r := range rules {
		if strings.Contains(agent, r.part) {
			return r.name
		}
	}
	return ""
}

// deviceName is the default of Options.Device: "Firefox on Linux". It names a
// program or a robot by the word that it uses for itself. It returns "" if the user agent says
// nothing.
func deviceName(agent string) string {
	if robot := robotName(agent); robot != "" {
		return robot
	}
	browser, system := first(browsers, agent), first(systems, agent)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	program, _, _ := strings.Cut(agent, "/") // "curl/8.14.1", "Shop/3.2 CFNetwork/…"
	if program == "Mozilla" {
		return system
	}
	return program
}

// robotName returns the word of a user agent that ends with bot, crawler or
// spider: "Googlebot".
func robotName(agent string) string {
	notLetter := func(c rune) bool { return !unicode.IsLetter(c) }
	for word := range strings.FieldsFuncSeq(agent, notLetter) {
		lower := strings.ToLower(word)
		for _, end := range []string{"bot", "crawler", "spider"} {
			if strings.HasSuffix(lower, end) {
				return word
			}
		}
	}
	return ""
}

// maxName is how many characters of a device's name are shown.
const maxName = 60

// cleanName returns a name without characters that can't be seen, such as those
// that change the direction of text, and cuts what is longer than maxName.
func cleanName(name string) string {
	name = strings.ToValidUTF8(name, "")
	shown := make([]rune, 0, maxName)
	for _, c := range name {
		switch {
		case unicode.IsSpace(c):
			c = ' '
		case !unicode.IsPrint(c):
			continue
		}
		if c == ' ' && (len(shown) == 0 || shown[len(shown)-1] == ' ') {
			continue
		}
		if len(shown) == maxName {
			return strings.TrimSpace(string(shown)) + "…"
		}
		shown = append(shown, c)
	}
	return strings.TrimSpace(string(shown))
}

// The kinds of devices, which choose the picture.
const (
	computer = "computer"
	phone    = "phone"
	program  = "program"
)

// kindOf returns the kind of device that a user agent tells.
func kindOf(agent string) string {
	switch system := first(systems, agent); {
	case robotName(agent) != "":
		return program
	case system == "iOS", system == "iPadOS", system == "Android":
		return phone
	case system == "" && agent != "":
		return program
	}
	return computer
}
