// Command goclient uses the client that oapi-codegen generates from the API's
// description: in a test, which puts it into the package client. It ends with
// "ok", or says what didn't work.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"goclient/client"
)

func main() {
	if err := use(context.Background(), os.Getenv("SOJOURN_SERVER"), os.Getenv("SOJOURN_KEY")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func use(ctx context.Context, server, key string) error {
	c, err := client.NewClientWithResponses(server, client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	}))
	if err != nil {
		return err
	}
	browser := &client.RequestClient{Ip: new("203.0.113.7"), UserAgent: new("Mozilla/5.0")}

	visitor, err := c.CreateSessionWithResponse(ctx, nil, client.Create{Client: browser, Values: &map[string]any{"cart": map[string]int{"tent": 1}}})
	if err != nil || visitor.JSON201 == nil {
		return fmt.Errorf("create: %v, %s", err, visitor.Body)
	}
	login, err := c.LogInWithResponse(ctx, client.Login{Token: &visitor.JSON201.Token, Subject: "u-1815", Amr: &[]string{"pwd"}, ExpiresIn: new(int64(28800)), Client: browser})
	if err != nil || login.JSON200 == nil || login.JSON200.Session.Id != visitor.JSON201.Session.Id || login.JSON200.Session.ExpiresAt.Sub(*login.JSON200.Session.AuthenticatedAt) != 8*time.Hour {
		return fmt.Errorf("log in: %v, %s", err, login.Body)
	}
	token := login.JSON200.Token

	updated, err := c.UpdateSessionWithResponse(ctx, client.Update{Token: &token, Set: &map[string]any{"theme": "dark"}})
	if err != nil || updated.JSON200 == nil || (*updated.JSON200.Session.Values)["theme"] != "dark" {
		return fmt.Errorf("update: %v, %s", err, updated.Body)
	}
	resolved, err := c.ResolveSessionWithResponse(ctx, client.Resolve{Token: &token, Client: browser})
	if err != nil || resolved.JSON200 == nil || resolved.JSON200.Session == nil || resolved.JSON200.Session.Subject != "u-1815" {
		return fmt.Errorf("resolve: %v, %s", err, resolved.Body)
	}
	stranger, err := c.ResolveSessionWithResponse(ctx, client.Resolve{Token: new(strings.Repeat("A", 64))})
	if err != nil || stranger.JSON200 == nil || stranger.JSON200.Session != nil || *stranger.JSON200.Why != client.ResolvedWhyUnknown {
		return fmt.Errorf("resolve a stranger: %v, %s", err, stranger.Body)
	}

	id := resolved.JSON200.Session.Id.String()
	got, err := c.GetSessionWithResponse(ctx, id)
	if err != nil || got.JSON200 == nil {
		return fmt.Errorf("get: %v, %s", err, got.Body)
	}
	patched, err := c.PatchValuesWithResponse(ctx, id, &client.PatchValuesParams{IfMatch: new(got.HTTPResponse.Header.Get("ETag"))}, client.PatchValuesJSONRequestBody{"theme": nil})
	if err != nil || patched.JSON200 == nil || (*patched.JSON200.Values)["theme"] != nil {
		return fmt.Errorf("patch: %v, %s", err, patched.Body)
	}
	set, err := c.SetValueWithResponse(ctx, id, "a/b", &client.SetValueParams{IfMatch: new("*")}, map[string]any{"c": nil})
	if err != nil || set.JSON200 == nil || fmt.Sprint((*set.JSON200.Values)["a/b"]) != "map[c:<nil>]" {
		return fmt.Errorf("set a value: %v, %s", err, set.Body)
	}
	replaced, err := c.ReplaceValuesWithResponse(ctx, id, &client.ReplaceValuesParams{IfMatch: new("*")}, client.ReplaceValuesJSONRequestBody{"theme": "light"})
	if err != nil || replaced.JSON200 == nil || fmt.Sprint(*replaced.JSON200.Values) != "map[theme:light]" {
		return fmt.Errorf("replace all values: %v, %s", err, replaced.Body)
	}
	touched, err := c.TouchSessionWithResponse(ctx, id)
	if err != nil || touched.JSON200 == nil || touched.JSON200.Subject != "u-1815" {
		return fmt.Errorf("touch: %v, %s", err, touched.Body)
	}
	list, err := c.ListSessionsWithResponse(ctx, &client.ListSessionsParams{Subject: new("u-1815"), Values: new(true)})
	if err != nil || list.JSON200 == nil || len(list.JSON200.Sessions) != 1 || (*list.JSON200.Sessions[0].Values)["theme"] != "light" {
		return fmt.Errorf("list: %v, %s", err, list.Body)
	}

	ended, err := c.EndSessionsWithResponse(ctx, &client.EndSessionsParams{Subject: new("u-1815")})
	if err != nil || ended.JSON200 == nil || *ended.JSON200.Ended != 1 {
		return fmt.Errorf("end: %v, %s", err, ended.Body)
	}
	dead, err := c.UpdateSessionWithResponse(ctx, client.Update{Token: &token})
	if err != nil || dead.ApplicationproblemJSON409 == nil || dead.ApplicationproblemJSON409.Code != client.ProblemCodeNotLive || *dead.ApplicationproblemJSON409.Why != client.ProblemWhyRevoked {
		return fmt.Errorf("update what has ended: %v, %s", err, dead.Body)
	}
	return events(ctx, c)
}

// events looks for the end among what has happened.
func events(ctx context.Context, c *client.ClientWithResponses) error {
	res, err := c.StreamEvents(ctx, &client.StreamEventsParams{Last: new(100), Follow: new(false)})
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event client.Event
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return fmt.Errorf("event %s: %w", data, err)
		}
		if event.Kind == "ended" && *event.Subject == "u-1815" && *event.Reason == "revoked" {
			return nil
		}
	}
	return fmt.Errorf("events: the end isn't among them: %s", res.Status)
}
