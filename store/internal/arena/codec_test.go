package arena

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// full returns a record without a zero field.
func full() *store.Record {
	secret := func(b byte) store.Secret {
		return store.Secret{Hash: store.Hash{b}, IssuedAt: 1_000_100, FirstSeenAt: 1_000_200, ConfirmedAt: 1_000_300, Until: 1_000_400, Login: true}
	}
	return &store.Record{
		ID: store.ID{1, 2, 3, 15: 9}, Revision: 7, Subject: "alice", Epoch: 3,
		Secret: secret(1), Good: []store.Secret{secret(2), {Hash: store.Hash{3}}},
		Spent:     []store.Spent{{Print: store.Fingerprint{1}, Until: 1_000_000}, {Print: store.Fingerprint{2}, Until: 5}, {}},
		SpentTill: 999, EpochHash: store.Hash{31: 1}, Epochs: []store.Fingerprint{{5}, {6}}, Halves: []store.Fingerprint{{7}},
		CreatedAt: 1_000_000, AuthenticatedAt: 1_000_001, LastSeenAt: 1_000_002, Idle: 90 * time.Minute, ExpiresAt: 2_000_001,
		AMR: "pwd otp", Level: 2, Remembered: true, Bearer: true, Stale: true, UntilBrowserCloses: true,
		Client:     store.Client{IP: netip.MustParseAddr("192.0.2.1"), UserAgent: "first"},
		LastClient: store.Client{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "last"},
		Values:     store.Values(nil).AppendSet(nil, "k", []byte(`"v"`)),
		Binding:    []byte("key"),
		End:        store.ReasonTheft, EndAt: 1_500_000,
	}
}

func roundTrip(t testing.TB, rec *store.Record) {
	t.Helper()
	var tab Strings
	b := Encode(nil, &tab, 300, rec)
	if AppOf(b) != 300 || *IDOf(b) != rec.ID {
		t.Errorf("AppOf, IDOf = %d, %v", AppOf(b), IDOf(b))
	}
	got := full() // what was there must not show through
	got.Cached = true
	if err := Decode(append(b, "slack"...), &tab, got); err != nil {
		t.Fatalf("Decode: %v of %+v", err, rec)
	}
	if !got.Equal(rec) || got.Cached {
		t.Errorf("round trip:\n got %+v\nwant %+v", got, rec)
	}
	var h Head
	if !Peek(b, &h) || h.LastClient(&tab) != rec.LastClient {
		t.Errorf("LastClient = %+v, want %+v", h.LastClient(&tab), rec.LastClient)
	}
	tab.Release(UsedStrings(nil, b))
	if n := tab.Len(); n != 0 {
		t.Errorf("%d strings are left after all records are gone", n)
	}
}

// TestEveryField finds a field of Record that the codec or Equal forgot.
func TestEveryField(t *testing.T) {
	roundTrip(t, full())
	roundTrip(t, &store.Record{})
	typ := reflect.TypeFor[store.Record]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Name == "Cached" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			rec := full()
			if reflect.ValueOf(rec).Elem().Field(i).IsZero() {
				t.Error("full leaves the field zero")
			}
			reflect.ValueOf(rec).Elem().Field(i).SetZero()
			if rec.Equal(full()) {
				t.Error("Equal doesn't compare the field")
			}
			roundTrip(t, rec)
			rec = &store.Record{}
			reflect.ValueOf(rec).Elem().Field(i).Set(reflect.ValueOf(full()).Elem().Field(i))
			roundTrip(t, rec)
		})
	}
}

func TestEdges(t *testing.T) {
	edges := []store.Time{0, 1, -1, 999, 1000, 1 << 40, 1<<40 - 1, 1<<48 - 1, 1 << 48, math.MaxInt64, math.MinInt64, math.MinInt64 + 1}
	for _, created := range edges {
		for _, at := range edges {
			rec := full()
			rec.CreatedAt, rec.LastSeenAt, rec.ExpiresAt, rec.AuthenticatedAt, rec.SpentTill, rec.EndAt = created, at, at, at, at, at
			rec.Secret = store.Secret{IssuedAt: at, FirstSeenAt: created, ConfirmedAt: at, Until: created}
			rec.Spent = []store.Spent{{Until: at}, {Until: created}, {Until: at}}
			roundTrip(t, rec)
		}
	}
	for _, idle := range []time.Duration{1, -1, time.Millisecond, time.Second, 1500 * time.Millisecond, math.MaxInt64, math.MinInt64} {
		rec := full()
		rec.Idle = idle
		roundTrip(t, rec)
	}
	for _, ip := range []string{"0.0.0.0", "::", "::ffff:192.0.2.1", "fe80::1%eth0", "fe80::1%" + strings.Repeat("z", 300)} {
		for _, last := range []string{"1.2.3.4", ip} {
			rec := full()
			rec.Client.IP, rec.LastClient.IP = netip.MustParseAddr(ip), netip.MustParseAddr(last)
			roundTrip(t, rec)
		}
	}
	rec := full()
	rec.Client.UserAgent, rec.AMR, rec.Subject = strings.Repeat("u", 5000), "\x00", "a\x00\xff "
	rec.Level, rec.Epoch, rec.Revision, rec.End = 255, math.MaxUint32, math.MaxUint64, "another reason"
	rec.Values = make([]byte, 1<<20)
	roundTrip(t, rec)
	rec = full()
	rec.ID = store.ID{0x01, 0x90, 0xab, 0xcd, 0xef, 0x01, 0x70}
	rec.CreatedAt = 0x0190abcdef01
	roundTrip(t, rec)
}

func TestSetLastSeen(t *testing.T) {
	var tab Strings
	rec := full()
	b := Encode(nil, &tab, 1, rec)
	for _, at := range []store.Time{rec.CreatedAt - 1, 0, 1 << 40, math.MaxInt64, math.MinInt64} {
		rec.LastSeenAt = at
		SetLastSeen(b, at)
		var got store.Record
		if err := Decode(b, &tab, &got); err != nil || !got.Equal(rec) {
			t.Errorf("Decode = %+v, %v", got, err)
		}
	}
}

func TestDecodeAllocatesTheSubjectOnly(t *testing.T) {
	var tab Strings
	rec := full()
	with := Encode(nil, &tab, 1, rec)
	rec.Subject, rec.End, rec.EndAt = "", "", 0
	without := Encode(nil, &tab, 1, rec)
	got := full()
	got.Spent, got.Good = make([]store.Spent, 0, 8), make([]store.Secret, 0, 8)
	for _, c := range []struct {
		b    []byte
		want float64
	}{{with, 1}, {without, 0}} {
		n := testing.AllocsPerRun(100, func() {
			got.Subject = ""
			if err := Decode(c.b, &tab, got); err != nil {
				t.Fatal(err)
			}
		})
		if n != c.want {
			t.Errorf("Decode made %v allocations, want %v", n, c.want)
		}
	}
}

func TestStringsAreBounded(t *testing.T) {
	var tab Strings
	var list [][]byte
	for i := range maxStrings + 100 {
		rec := store.Record{Client: store.Client{UserAgent: "agent " + strings.Repeat("x", i%200) + string(rune(i))}}
		list = append(list, Encode(nil, &tab, 0, &rec))
		var got store.Record
		if err := Decode(list[i], &tab, &got); err != nil || !got.Equal(&rec) {
			t.Fatalf("Decode = %+v, %v", got, err)
		}
	}
	if n := tab.Len(); n > maxStrings {
		t.Errorf("the table has %d strings", n)
	}
	for _, b := range list {
		tab.Release(UsedStrings(nil, b))
	}
	if tab.Len() != 0 || tab.bytes != 0 {
		t.Errorf("%d strings of %d bytes are left", tab.Len(), tab.bytes)
	}
}

// FuzzRecord gives the decoder arbitrary bytes: it must not panic, and what it accepts must
// survive a round trip.
func FuzzRecord(f *testing.F) {
	var tab Strings
	tab.acquire("first")
	tab.acquire("last")
	f.Add(Encode(nil, &tab, 1, full()))
	f.Add(Encode(nil, &tab, 1<<31, full()))
	f.Add(Encode(nil, &tab, 0, &store.Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec store.Record
		if Decode(b, &tab, &rec) != nil {
			return
		}
		UsedStrings(nil, b)
		AppOf(b)
		roundTrip(t, &rec)
	})
}
