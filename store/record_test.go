package store_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

func TestIDText(t *testing.T) {
	const text = "0197f3a0-1b2c-7d3e-8f40-5162738495a6"
	id, err := store.ParseID(text)
	if err != nil || id.String() != text {
		t.Fatalf("%v, %v", id, err)
	}
	if upper, err := store.ParseID(strings.ToUpper(text)); err != nil || upper != id {
		t.Errorf("upper case: %v, %v", upper, err)
	}
	for _, bad := range []string{
		"", text[:35], text + "0", strings.ReplaceAll(text, "-", ""), strings.Replace(text, "0", "g", 1),
		strings.Replace(text, "-", "0", 1), "{" + text[1:35] + "}", text[:35] + "\x00", text[:34] + "é",
	} {
		if got, err := store.ParseID(bad); err == nil || !got.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v", bad, got, err)
		}
	}

	// The zero ID is the empty string in JSON, in both directions.
	for _, want := range []store.ID{id, {}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := store.ID{1}
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", b, got, err, want)
		}
	}
	if err := json.Unmarshal([]byte(`"0197f3a0"`), new(store.ID)); err == nil {
		t.Error("half an ID: no error")
	}
}

func TestIDOrder(t *testing.T) {
	a, b := store.ID{0, 1}, store.ID{0, 2}
	if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
		t.Error("IDs don't compare by their bytes")
	}
}

func TestHashPrint(t *testing.T) {
	h := store.Hash{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if h.Print() != (store.Fingerprint{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("%v", h.Print())
	}
}

func TestTime(t *testing.T) {
	if store.TimeOf(time.Time{}) != 0 || !store.Time(0).Time().IsZero() {
		t.Error("never isn't 0")
	}
	at := time.Date(2026, 11, 23, 5, 0, 0, 123_999_999, time.FixedZone("east", 3600))
	got := store.TimeOf(at)
	if want := at.Truncate(time.Millisecond); !got.Time().Equal(want) || got.Time().Location() != time.UTC {
		t.Errorf("%v, want %v in UTC", got.Time(), want)
	}
	if later := got.Add(time.Minute + 1999*time.Microsecond); later.Sub(got) != time.Minute+time.Millisecond {
		t.Errorf("Add, then Sub: %v", later.Sub(got))
	}
	if store.TimeOf(time.UnixMilli(-5)) != -5 || !store.Time(-5).Time().Equal(time.UnixMilli(-5)) {
		t.Error("before 1970")
	}
}

// A session is expired from its deadline on. The reason is that of the earlier
// deadline.
func TestI7ExpiredFromTheDeadlineOn(t *testing.T) {
	const seen = store.Time(1_000_000)
	idle, absolute := seen+60_000, seen+90_000
	tests := []struct {
		name      string
		expiresAt store.Time
		now       store.Time
		reason    store.Reason
		at        store.Time
	}{
		{"just seen", absolute, seen, "", 0},
		{"a millisecond before idle", absolute, idle - 1, "", 0},
		{"at idle", absolute, idle, store.ReasonIdle, idle},
		{"between the two", absolute, absolute - 1, store.ReasonIdle, idle},
		{"after both, idle first", absolute, absolute + 1, store.ReasonIdle, idle},
		{"a millisecond before absolute", seen + 30_000, seen + 29_999, "", 0},
		{"at absolute", seen + 30_000, seen + 30_000, store.ReasonAbsolute, seen + 30_000},
		{"after both, absolute first", seen + 30_000, idle + 1, store.ReasonAbsolute, seen + 30_000},
		{"both at once", idle, idle, store.ReasonAbsolute, idle},
		{"a clock that stepped back", absolute, seen - 1, "", 0},
	}
	for _, test := range tests {
		r := store.Record{LastSeenAt: seen, Idle: time.Minute, ExpiresAt: test.expiresAt}
		if reason, at := r.ExpiredAt(test.now); reason != test.reason || at != test.at {
			t.Errorf("%s: %q at %d, want %q at %d", test.name, reason, at, test.reason, test.at)
		}
	}
}

// full returns a record with every field set. It uses reflection, so that it
// covers fields that are added later.
func full(t *testing.T) *store.Record {
	r := new(store.Record)
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		set(t, v.Field(i))
	}
	return r
}

func set(t *testing.T, v reflect.Value) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	case store.Values:
		v.SetBytes(store.Values(nil).AppendSet(nil, "cart", []byte("[1]")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int64:
		v.SetInt(7000)
	case reflect.String:
		v.SetString("text")
	case reflect.Array:
		for i := range v.Len() {
			set(t, v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			set(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			set(t, v.Field(i))
		}
	default:
		t.Fatalf("say here how to set a %v", v.Type())
	}
}

func TestRecordCopy(t *testing.T) {
	src := full(t)
	for _, dst := range []*store.Record{{}, full(t), {Good: make([]store.Secret, 0, 9), Values: make(store.Values, 0, 99)}} {
		dst.CopyFrom(src)
		if !reflect.DeepEqual(dst, src) {
			t.Fatalf("got %+v, want %+v", dst, src)
		}
		dst.Good[0].IssuedAt++
		dst.Spent[0].Until++
		dst.Epochs[0][0]++
		dst.Values[0]++
		if !reflect.DeepEqual(src, full(t)) {
			t.Fatal("the copy shares memory with the original")
		}
	}
}

// Equal compares each field except Cached, which a store does not keep.
func TestRecordEqual(t *testing.T) {
	if !full(t).Equal(full(t)) {
		t.Fatal("a record isn't equal to itself")
	}
	typ := reflect.TypeFor[store.Record]()
	for i := range typ.NumField() {
		other := full(t)
		reflect.ValueOf(other).Elem().Field(i).SetZero()
		name := typ.Field(i).Name
		if got, want := full(t).Equal(other), name == "Cached"; got != want {
			t.Errorf("without its %s: Equal is %v", name, got)
		}
	}
}

// A tombstone recognises the session's tokens and says why it ended. It does
// not keep the subject, the client and the values.
func TestTombstone(t *testing.T) {
	const at = store.Time(50_000)
	r := full(t)
	r.Secret.Hash = store.Hash{1}
	r.Spent = []store.Spent{{Print: store.Fingerprint{2}, Until: 20_000}}
	r.Good = []store.Secret{
		{Hash: store.Hash{3}, Until: 30_000},      // expired before the end
		{Hash: store.Hash{4}},                     // has no deadline yet
		{Hash: store.Hash{5}, Until: at + 10_000}, // the end shortens it
	}
	live := *r
	r.Bury(store.ReasonTheft, at)

	want := &store.Record{
		ID: live.ID, Revision: live.Revision + 1, Epoch: live.Epoch, CreatedAt: live.CreatedAt,
		SpentTill: live.SpentTill, EpochHash: live.EpochHash, Epochs: live.Epochs, Halves: live.Halves,
		Spent: []store.Spent{
			{Print: store.Fingerprint{2}, Until: 20_000},
			{Print: store.Fingerprint{3}, Until: 30_000},
			{Print: store.Fingerprint{4}, Until: at},
			{Print: store.Fingerprint{5}, Until: at},
			{Print: store.Fingerprint{1}, Until: at},
		},
		End: store.ReasonTheft, EndAt: at,
	}
	if !r.Equal(want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if reflect.DeepEqual(r.Secret, live.Secret) || len(r.Good) != 0 {
		t.Error("a secret is still good")
	}
	if slices.Contains([]string{r.Subject, r.AMR, r.Client.UserAgent, r.LastClient.UserAgent}, "text") || bytes.Contains(r.Values, []byte("cart")) {
		t.Errorf("the tombstone tells who it was: %+v", r)
	}
}
