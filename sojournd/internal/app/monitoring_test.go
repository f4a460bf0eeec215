package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v4"

	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

const (
	alertsFile    = "../../../deploy/prometheus/alerts.yaml"
	dashboardFile = "../../../deploy/grafana/sojourn.json"
)

// An alert is a rule of the file for Prometheus.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readAlerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	b, err := os.ReadFile(alertsFile)
	if err == nil {
		err = yaml.Unmarshal(b, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// A case makes some figures sick, and says which alerts must fire. All other
// figures stay healthy, and no other alert may fire.
type alertCase struct {
	fires string            // alerts, separated by spaces
	sick  map[string]string // values of series in the notation of promtool, one each minute
}

// healthy are the figures of two nodes on a good day. Some visitors are refused,
// and some calls take long.
var healthy = map[string]string{
	`sojourn_sessions_ended_total{app="shop",instance="a",reason="theft"}`:                   "3x60",
	`sojourn_sessions_ended_total{app="shop",instance="a",reason="logout"}`:                  "0+100x60",
	`sojourn_tokens_refused_total{app="shop",instance="a",refusal="throttled"}`:              "7x60",
	`sojourn_tokens_refused_total{app="shop",instance="a",refusal="unknown"}`:                "0+60x60",
	`sojourn_tokens_refused_total{app="shop",instance="a",refusal="malformed"}`:              "0+6x60",
	`sojourn_tokens_refused_total{app="shop",instance="a",refusal="ended"}`:                  "0+6000x60",
	`sojourn_tokens_refused_total{app="shop",instance="a",refusal="former"}`:                 "0+0x30 1x30",
	`sojourn_sealed_opens_total{app="shop",instance="a",result="opened"}`:                    "0+6000x60",
	`sojourn_sealed_opens_total{app="shop",instance="a",result="old_key"}`:                   "0+600x60",
	`sojourn_sealed_opens_total{app="shop",instance="a",result="no_key"}`:                    "0+1x60",
	`sojourn_logins_refused_total{app="shop",instance="a",reason="limit"}`:                   "0+1x60",
	`sojourn_logins_refused_total{app="shop",instance="a",reason="barrier"}`:                 "0+9x60",
	`sojourn_store_errors_total{call="get",instance="a"}`:                                    "5x60",
	`sojourn_store_errors_total{call="get",instance="b"}`:                                    "0x60",
	`sojourn_store_duration_seconds_count{call="get",instance="a"}`:                          "0+6000x60",
	`sojourn_store_duration_seconds_count{call="get",instance="b"}`:                          "0+6000x60",
	`sojourn_store_duration_seconds_bucket{call="get",instance="a",le="0.01"}`:               "0+5990x60",
	`sojourn_store_duration_seconds_bucket{call="get",instance="a",le="0.1"}`:                "0+5995x60",
	`sojourn_store_duration_seconds_bucket{call="get",instance="a",le="2.5"}`:                "0+6000x60",
	`sojourn_store_duration_seconds_bucket{call="get",instance="a",le="+Inf"}`:               "0+6000x60",
	`sojourn_store_duration_seconds_bucket{call="sweep",instance="a",le="0.1"}`:              "0+1x60",
	`sojourn_store_duration_seconds_bucket{call="sweep",instance="a",le="2.5"}`:              "0+6x60",
	`sojourn_store_duration_seconds_bucket{call="sweep",instance="a",le="+Inf"}`:             "0+6x60",
	`sojourn_cache_live{instance="a"}`:                                                       "1x60",
	`sojourn_cache_live{instance="b"}`:                                                       "1x60",
	`sojourn_store_nearly_full{instance="a"}`:                                                "0x60",
	`sojourn_store_full{instance="a"}`:                                                       "0x60",
	`sojourn_store_reserve_bytes{instance="a"}`:                                              "67108864x60",
	`up{job="sojournd",instance="a"}`:                                                        "1x60",
	`up{job="other",instance="c"}`:                                                           "0x60",
	`sojourn_check_duration_seconds_count{app="shop",instance="a",status="200"}`:             "0+60000x60",
	`sojourn_check_duration_seconds_count{app="shop",instance="a",status="401"}`:             "0+9000x60",
	`sojourn_check_duration_seconds_count{app="shop",instance="a",status="503"}`:             "0+60x60",
	`sojourn_check_duration_seconds_bucket{app="shop",instance="a",status="200",le="0.001"}`: "0+59990x60",
	`sojourn_check_duration_seconds_bucket{app="shop",instance="a",status="200",le="0.25"}`:  "0+60000x60",
	`sojourn_check_duration_seconds_bucket{app="shop",instance="a",status="200",le="+Inf"}`:  "0+60000x60",
	`sojourn_api_request_duration_seconds_count{route="POST /v1",instance="a",status="200"}`: "0+6000x60",
	`sojourn_api_request_duration_seconds_count{route="POST /v1",instance="a",status="404"}`: "0+3000x60",
	`sojourn_api_request_duration_seconds_count{route="POST /v1",instance="a",status="503"}`: "0+10x60",
	`sojourn_events_lost_total{instance="a"}`:                                                "12x60",
	`sojourn_audit_errors_total{instance="a"}`:                                               "0x60",
	`sojourn_webhook_dead_letters_total{app="shop",instance="a",reason="expired"}`:           "1x60",
	`sojourn_webhook_dead_letters_total{app="shop",instance="a",reason="removed"}`:           "0+1x60",
	`sojourn_webhook_dead_letters_total{app="shop",instance="a",reason="shutdown"}`:          "0+1x60",
}

var alertCases = []alertCase{
	{"SojournTheft", map[string]string{`sojourn_sessions_ended_total{app="shop",instance="a",reason="theft"}`: "3x50 4x10"}},
	{"SojournGuessing", map[string]string{`sojourn_tokens_refused_total{app="shop",instance="a",refusal="throttled"}`: "7x50 8x10"}},
	{"SojournGuessingSpread", map[string]string{`sojourn_tokens_refused_total{app="shop",instance="a",refusal="unknown"}`: "0+400x60"}},
	{"SojournFormerSecrets", map[string]string{`sojourn_tokens_refused_total{app="shop",instance="a",refusal="former"}`: "0+1x60"}},
	{"SojournSealingKeyMissing", map[string]string{`sojourn_sealed_opens_total{app="shop",instance="a",result="no_key"}`: "0x50 0+5x10"}},
	{"SojournLimitRefusals", map[string]string{`sojourn_logins_refused_total{app="shop",instance="a",reason="limit"}`: "0+3x60"}},
	{"SojournStoreErrors", map[string]string{`sojourn_store_errors_total{call="get",instance="b"}`: "0x50 1+1x10"}},
	{"SojournStoreErrors SojournStoreDown", map[string]string{`sojourn_store_errors_total{call="get",instance="b"}`: "0x50 4000+4000x10"}},
	{"SojournStoreSlow", map[string]string{`sojourn_store_duration_seconds_bucket{call="get",instance="a",le="0.1"}`: "0+5000x60", `sojourn_store_duration_seconds_bucket{call="get",instance="a",le="0.01"}`: "0+5000x60"}},
	{"SojournFeedDown", map[string]string{`sojourn_cache_live{instance="b"}`: "1x55 0x5"}},
	{"SojournFeedDown", map[string]string{`sojourn_cache_live{instance="b"}`: "1x55 0x5", `sojourn_store_warnings{code="feed",instance="b"}`: "_x55 1x5"}},
	{"SojournRedisEvicts", map[string]string{`sojourn_store_warnings{code="eviction",instance="a"}`: "_x60 1"}},
	{"SojournClockApart", map[string]string{`sojourn_store_warnings{code="clock",instance="a"}`: "_x40 1x20"}},
	{"SojournStoreWarning", map[string]string{`sojourn_store_warnings{code="tracking",instance="a"}`: "_x40 1x20"}},
	{"SojournDiskNearlyFull", map[string]string{`sojourn_store_nearly_full{instance="a"}`: "0x58 1x2", `sojourn_store_warnings{code="nearly_full",instance="a"}`: "_x40 1x20"}},
	{"SojournDiskFull", map[string]string{`sojourn_store_full{instance="a"}`: "0x58 1x2", `sojourn_store_warnings{code="full",instance="a"}`: "_x40 1x20"}},
	{"SojournDiskReserveUsed", map[string]string{`sojourn_store_warnings{code="reserve",instance="a"}`: "_x58 1x2"}},
	{"SojournNodeDown", map[string]string{`up{job="sojournd",instance="a"}`: "1x50 0x10"}},
	{"SojournChecksSlow", map[string]string{`sojourn_check_duration_seconds_bucket{app="shop",instance="a",status="200",le="0.001"}`: "0+58000x60"}},
	{"SojournChecksFail", map[string]string{`sojourn_check_duration_seconds_count{app="shop",instance="a",status="503"}`: "0+6000x60"}},
	{"SojournRequestsFail", map[string]string{`sojourn_api_request_duration_seconds_count{route="POST /v1",instance="a",status="503"}`: "0+600x60"}},
	{"SojournEventsLost", map[string]string{`sojourn_events_lost_total{instance="a"}`: "12x50 13x10"}},
	{"SojournAuditErrors", map[string]string{`sojourn_audit_errors_total{instance="a"}`: "0x50 1x10"}},
	{"SojournWebhookFails", map[string]string{`sojourn_webhook_dead_letters_total{app="shop",instance="a",reason="expired"}`: "1x50 2x10"}},
}

// promtool runs Debian's promtool and returns what it prints.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); errors.Is(err, exec.ErrNotFound) && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
		t.Skip("needs promtool: on Debian, apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlerts: on healthy figures no alert fires. Each fires on the figures that
// it is for, and no other does.
func TestAlerts(t *testing.T) {
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	type series struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	type sample struct {
		Labels string `yaml:"labels"`
		Value  int    `yaml:"value"`
	}
	type query struct {
		Expr    string   `yaml:"expr"`
		At      string   `yaml:"eval_time"`
		Samples []sample `yaml:"exp_samples"`
	}
	type group struct {
		Interval string   `yaml:"interval"`
		Name     string   `yaml:"name"`
		Input    []series `yaml:"input_series"`
		Queries  []query  `yaml:"promql_expr_test"`
	}
	var groups []group
	tested := map[string]bool{}
	for _, c := range append([]alertCase{{}}, alertCases...) {
		figures := maps.Clone(healthy)
		maps.Copy(figures, c.sick)
		g := group{Interval: "1m", Name: "sick: " + c.fires}
		for _, name := range slices.Sorted(maps.Keys(figures)) {
			g.Input = append(g.Input, series{name, figures[name]})
		}
		q := query{Expr: `count by (alertname) (ALERTS{alertstate="firing"})`, At: "60m", Samples: []sample{}}
		for _, name := range strings.Fields(c.fires) {
			tested[name] = true
			q.Samples = append(q.Samples, sample{`{alertname="` + name + `"}`, 1})
		}
		g.Queries = []query{q}
		groups = append(groups, g)
	}
	for _, a := range readAlerts(t) {
		if !tested[a.Alert] {
			t.Errorf("no case shows when %s fires", a.Alert)
		}
	}
	b, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": groups})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", rules)
	promtool(t, "test", "rules", file)
}

// TestAlertsAreExplained: each alert leads to its own section of docs/alerts.md,
// and each section is about an alert that there is.
func TestAlertsAreExplained(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(docs), -1) {
		sections[m[1]] = true
	}
	const page = "https://github.com/sojourn-go/sojourn/blob/main/docs/alerts.md#"
	for _, a := range readAlerts(t) {
		if !sections[a.Alert] {
			t.Errorf("docs/alerts.md has no section %s", a.Alert)
		}
		delete(sections, a.Alert)
		if got, want := a.Annotations["runbook_url"], page+strings.ToLower(a.Alert); got != want {
			t.Errorf("%s leads to %q, want %q", a.Alert, got, want)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" || !slices.Contains([]string{"warning", "critical"}, a.Labels["severity"]) {
			t.Errorf("%s lacks a summary, a description, or a severity", a.Alert)
		}
	}
	for name := range sections {
		t.Errorf("docs/alerts.md explains %s, which is no alert", name)
	}
}

// exported returns the metrics of a server with everything, and the labels of
// each, separated by commas.
func exported(t *testing.T) map[string]string {
	t.Helper()
	cache := nearcache.New(memstore.New(), nearcache.Options{})
	t.Cleanup(func() { _ = cache.Close() })
	m := newMetrics(everything(cache), nil)
	m.registry.MustRegister(events.New(events.Options{}))
	descs := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descs)
	close(descs)
	there := map[string]string{}
	for d := range descs {
		found := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z_,]*)\}`).FindStringSubmatch(d.String())
		if found != nil {
			there[found[1]] = found[2]
		}
	}
	return there
}

// misused returns what is wrong about the metrics of a query.
func misused(metrics map[string]string, query string) (wrong []string) {
	const added = "instance,job,le" // by Prometheus, and of a histogram
	for _, m := range regexp.MustCompile(`\b((?:sojourn|process|go)_[a-z_]+|up\b)(\{[^}]*\})?`).FindAllStringSubmatch(query, -1) {
		name, labels := m[1], "job"
		if name != "up" {
			var ok bool
			if labels, ok = metrics[name]; !ok {
				if histogram := regexp.MustCompile(`^(.*_seconds)_(bucket|sum|count)$`).FindStringSubmatch(name); histogram != nil {
					labels, ok = metrics[histogram[1]]
				}
			}
			if !ok {
				wrong = append(wrong, "there is no metric "+name)
				continue
			}
		}
		for _, label := range regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(strings.Split(labels+","+added, ","), label[1]) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", name, label[1]))
			}
		}
	}
	return wrong
}

// TestAlertsUseMetrics: the rules name metrics and labels that the server has.
func TestAlertsUseMetrics(t *testing.T) {
	metrics := exported(t)
	for _, a := range readAlerts(t) {
		for _, wrong := range misused(metrics, a.Expr) {
			t.Errorf("%s: %s", a.Alert, wrong)
		}
	}
	if misused(metrics, `rate(sojourn_gone_total[5m])`) == nil || misused(metrics, `sojourn_cache_live{app="x"}`) == nil || misused(metrics, `sojourn_cache_live_count`) == nil {
		t.Error("a metric or a label that isn't there is not noticed")
	}
	for series := range healthy { // what the test of the rules is fed with must exist, too
		for _, wrong := range misused(metrics, series) {
			t.Error(wrong)
		}
	}
}

// TestDashboard: each panel of the dashboard for Grafana queries metrics that the
// server has, in PromQL, from the chosen data source, application and node.
func TestDashboard(t *testing.T) {
	type source struct{ Type, UID string }
	type panel struct {
		ID         int
		Type       string
		Title      string
		Datasource *source
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			Expr, RefID string
			Datasource  *source
		}
	}
	var d struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct {
				Name, Type string
				Query      any
				Datasource *source
			}
		}
	}
	b, err := os.ReadFile(dashboardFile)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	metrics := exported(t)
	chosen := source{"prometheus", "${datasource}"}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if v.Type == "query" {
			if v.Datasource == nil || *v.Datasource != chosen {
				t.Errorf("the variable %s is of another data source", v.Name)
			}
			text, _ := json.Marshal(v.Query)
			for _, wrong := range misused(metrics, string(text)) {
				t.Errorf("the variable %s: %s", v.Name, wrong)
			}
		}
	}
	if want := []string{"datasource", "app", "node"}; !slices.Equal(variables, want) || d.Title == "" || d.UID == "" {
		t.Errorf("the variables are %v, want %v, in a dashboard with title and UID", variables, want)
	}
	var rules []map[string]string
	ids, used := map[int]bool{}, map[string]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its ID or title is missing, or not its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, o := range d.Panels[:i] {
			if a, b := p.GridPos, o.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H || a.X+a.W > 24 {
				t.Errorf("%q and %q are at the same place, or too wide", p.Title, o.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource == nil || *p.Datasource != chosen {
			t.Errorf("%q has no query, or another data source", p.Title)
		}
		for _, q := range p.Targets {
			for _, wrong := range misused(metrics, q.Expr) {
				t.Errorf("%q: %s", p.Title, wrong)
			}
			for _, m := range regexp.MustCompile(`sojourn_[a-z_]+`).FindAllString(q.Expr, -1) {
				used[m] = true
			}
			if !strings.Contains(q.Expr, `instance=~"$node"`) {
				t.Errorf("%q doesn't ask for the chosen node", p.Title)
			}
			rules = append(rules, map[string]string{"record": "a:b:c", "expr": strings.NewReplacer("$__rate_interval", "5m", "$app", "shop", "$node", "a").Replace(q.Expr)})
		}
	}
	for _, want := range []string{
		"sojourn_sessions", "sojourn_sessions_created_total", "sojourn_sessions_ended_total", "sojourn_tokens_refused_total", "sojourn_logins_refused_total",
		"sojourn_check_duration_seconds_bucket", "sojourn_page_duration_seconds_bucket", "sojourn_bound_requests_total", "sojourn_store_errors_total", "sojourn_store_duration_seconds_bucket", "sojourn_store_warnings",
		"sojourn_cache_live", "sojourn_store_reserve_bytes", "sojourn_events_lost_total", "sojourn_webhook_pending",
	} {
		if !used[want] {
			t.Errorf("no panel shows %s", want)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	b, err = yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rules}}})
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}
