package models

import (
	"errors"
	"slices"
	"testing"
	"time"

	"bidwell/rtb"

	"pgregory.net/rapid"
)

// merge is what a store does with what the rules return.
func merge(all, changed Versions) Versions {
	all = slices.Clone(all)
	for _, c := range changed {
		if old := all.Of(c.Number); old != nil {
			*old = c
		} else {
			all = append(all, c)
		}
	}
	return all
}

// versions have one letter each: s(hadow), c(anary), l(ive), r(etired), b for
// rolled back.
func versions(letters string) (all Versions) {
	status := map[rune]Status{'s': Shadow, 'c': Canary, 'l': Live, 'r': Retired, 'b': RolledBack}
	for i, letter := range letters {
		v := Version{Number: uint32(i + 1), Origin: FromFile, Status: status[letter], Kept: true, Created: noon}
		if v.Status == Canary {
			v.Share = 1000
		}
		all = append(all, v)
	}
	return all
}

func letters(all Versions) (out string) {
	for _, v := range all {
		out += string(" sclrb"[v.Status])
	}
	return out
}

func TestTransitions(t *testing.T) {
	promote := func(n uint32) func(Versions) (Versions, error) {
		return func(v Versions) (Versions, error) { return v.Promote(n, true, noon) }
	}
	try := func(n uint32, share Share) func(Versions) (Versions, error) {
		return func(v Versions) (Versions, error) { return v.Try(n, share, noon) }
	}
	rollback := func(n uint32) func(Versions) (Versions, error) {
		return func(v Versions) (Versions, error) { return v.Rollback(n, "bad", false, noon) }
	}
	retire := func(n uint32) func(Versions) (Versions, error) {
		return func(v Versions) (Versions, error) { return v.Retire(n, noon) }
	}
	tests := []struct {
		name, before string
		live         uint32 // Before of the live one
		change       func(Versions) (Versions, error)
		after        string
		err          error
	}{
		{"shadow becomes live", "lss", 0, promote(2), "rls", nil},
		{"canary becomes live", "lc", 0, promote(2), "rl", nil},
		{"beside a canary", "lcs", 0, promote(3), "rcl", nil},
		{"retired becomes live", "rl", 1, promote(1), "lr", nil},
		{"rolled back becomes live", "bl", 0, promote(1), "lr", nil},
		{"live becomes live", "rl", 1, promote(2), "rl", nil},
		{"unknown becomes live", "l", 0, promote(2), "l", rtb.ErrNotFound},
		{"first canary", "ls", 0, try(2, 500), "lc", nil},
		{"another canary", "lcs", 0, try(3, 500), "lsc", nil},
		{"another share", "lc", 0, try(2, 5000), "lc", nil},
		{"live on trial", "l", 0, try(1, 500), "l", ErrTransition},
		{"nobody's canary", "ls", 0, try(2, 0), "ls", ErrTransition},
		{"everybody's canary", "ls", 0, try(2, WholeShare), "ls", ErrTransition},
		{"canary rolled back", "lc", 0, rollback(2), "lb", nil},
		{"live rolled back", "rl", 1, rollback(2), "lb", nil},
		{"first rolled back", "l", 0, rollback(1), "l", ErrTransition},
		{"nothing good before", "bl", 1, rollback(2), "bl", ErrTransition},
		{"shadow rolled back", "ls", 0, rollback(2), "ls", ErrTransition},
		{"unknown rolled back", "l", 0, rollback(7), "l", rtb.ErrNotFound},
		{"shadow retired", "ls", 0, retire(2), "lr", nil},
		{"canary retired", "lc", 0, retire(2), "lr", nil},
		{"live retired", "l", 0, retire(1), "l", ErrTransition},
		{"unknown retired", "l", 0, retire(2), "l", rtb.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := versions(tt.before)
			before.Live().Before = tt.live
			kept := slices.Clone(before)
			changed, err := tt.change(before)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if !slices.Equal(before, kept) {
				t.Error("it changed what was given")
			}
			if got := letters(merge(before, changed)); got != tt.after {
				t.Errorf("became %s, want %s", got, tt.after)
			}
		})
	}
}

// One step back, and another one, but never to what was rolled back already.
func TestRollbackGoesBackOnly(t *testing.T) {
	all := versions("lss")
	for _, n := range []uint32{2, 3, 1} {
		changed, err := all.Promote(n, false, noon)
		if err != nil {
			t.Fatal(err)
		}
		all = merge(all, changed)
	}
	for _, want := range []string{"brl", "blb"} {
		live := all.Live().Number
		changed, err := all.Rollback(live, "bad", false, noon)
		if err != nil {
			t.Fatal(err)
		}
		if all = merge(all, changed); letters(all) != want || all.Of(live).Reason != "bad" {
			t.Fatalf("after the rollback of %d: %s, want %s", live, letters(all), want)
		}
	}
	if changed, err := all.Rollback(2, "bad", false, noon); !errors.Is(err, ErrTransition) {
		t.Errorf("rolled back to one that was rolled back: %v, %v", changed, err)
	}
	lost := versions("rl")
	lost[0].Kept, lost[1].Before = false, 1
	if _, err := lost.Rollback(2, "bad", false, noon); !errors.Is(err, ErrTransition) {
		t.Errorf("rolled back to one without a body: %v", err)
	}
	if _, err := lost.Promote(1, true, noon); !errors.Is(err, ErrNoBody) {
		t.Errorf("promoted one without a body: %v", err)
	}
}

func TestAdmit(t *testing.T) {
	pinned := func(v Versions) Versions { v.Live().Pinned = true; return v }
	learned := func(v Versions) Versions {
		for i := range v {
			v[i].Origin = FromLearner
		}
		return v
	}
	for _, tt := range []struct {
		name   string
		all    Versions
		origin Origin
		fit    bool
		want   string
		before uint32
	}{
		{"the first", nil, FromStarter, false, "l", 0},
		{"a file", versions("ls"), FromFile, true, "lss", 0},
		{"learned, after the starter", versions("l"), FromLearner, true, "rl", 1},
		{"learned, and unfit", versions("l"), FromLearner, false, "ls", 0},
		{"learned, but pinned", pinned(versions("l")), FromLearner, true, "ls", 0},
		{"learned once more, but pinned", pinned(learned(versions("lsc"))), FromLearner, true, "lrcs", 0},
		{"learned over and over", learned(versions("rls")), FromLearner, true, "rrrl", 2},
		{"learned beside a file", versions("ls"), FromLearner, true, "rsl", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := tt.all.Admit(Version{Origin: tt.origin, Created: noon}, tt.fit, noon)
			all := merge(tt.all, changed)
			if got, last := letters(all), all[len(all)-1]; got != tt.want || last.Before != tt.before || int(last.Number) != len(all) || !last.Kept {
				t.Errorf("became %s with %+v, want %s", got, last, tt.want)
			}
			if changed[len(changed)-1].Number != uint32(len(all)) {
				t.Error("the new one is not the last of what is stored")
			}
		})
	}
}

func TestStatusNames(t *testing.T) {
	for s := Shadow; s <= RolledBack; s++ {
		if got, err := ParseStatus(s.String()); got != s || err != nil {
			t.Errorf("ParseStatus(%q) = %v, %v", s, got, err)
		}
	}
	for o := FromStarter; o <= FromLearner; o++ {
		if got, err := ParseOrigin(o.String()); got != o || err != nil {
			t.Errorf("ParseOrigin(%q) = %v, %v", o, got, err)
		}
	}
	for _, name := range []string{"", "unknown", "LIVE"} {
		if s, err := ParseStatus(name); err == nil {
			t.Errorf("ParseStatus(%q) = %v", name, s)
		}
		if o, err := ParseOrigin(name); err == nil {
			t.Errorf("ParseOrigin(%q) = %v", name, o)
		}
	}
	if Status(99).String() != "unknown" || Origin(0).String() != "unknown" {
		t.Error("what is no status or origin has a name")
	}
}

// Whatever happens there is one live version and at most one canary, numbers
// rise, and what serves has its body.
func TestVersionsHoldTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		var all Versions
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 5*24*60).Draw(t, "minutes")) * time.Minute)
			number := uint32(rapid.IntRange(1, 20).Draw(t, "number"))
			if len(all) > 0 {
				number += all[0].Number - 1
			}
			var changed Versions
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1, 2:
				origin := rapid.SampledFrom([]Origin{FromFile, FromLearner}).Draw(t, "origin")
				changed = all.Admit(Version{Origin: origin, Created: now}, rapid.Bool().Draw(t, "fit"), now)
			case 3:
				changed, _ = all.Promote(number, rapid.Bool().Draw(t, "pinned"), now)
			case 4:
				changed, _ = all.Try(number, Share(rapid.IntRange(0, 10_001).Draw(t, "share")), now)
			case 5:
				changed, _ = all.Rollback(number, "bad", false, now)
			case 6:
				changed, _ = all.Retire(number, now)
			}
			all = merge(all, changed)
			bodies, gone := all.Old(now)
			all = merge(all, bodies)
			all = slices.DeleteFunc(all, func(v Version) bool { return slices.Contains(gone, v.Number) })
			count := map[Status]int{}
			for i, v := range all {
				count[v.Status]++
				if i > 0 && v.Number <= all[i-1].Number {
					t.Fatalf("numbers do not rise: %+v", all)
				}
				if (v.Status == Live || v.Status == Canary || v.Status == Shadow) && !v.Kept {
					t.Fatalf("version %d is %v without a body", v.Number, v.Status)
				}
				if (v.Share > 0 && v.Share < WholeShare) != (v.Status == Canary) || v.Pinned && v.Status != Live {
					t.Fatalf("version %d is %+v", v.Number, v)
				}
			}
			if len(all) > 0 && count[Live] != 1 || count[Canary] > 1 {
				t.Fatalf("%d live and %d canaries", count[Live], count[Canary])
			}
		}
	})
}

func TestHold(t *testing.T) {
	all := versions("rrlr")
	all[3].Kept = false
	of := func(want string) {
		t.Helper()
		got := ""
		for _, v := range all {
			if v.Held {
				got += string(rune('0' + v.Number))
			}
		}
		if got != want {
			t.Errorf("held are %q, want %q", got, want)
		}
	}
	for _, step := range []struct {
		numbers []uint32
		only    bool
		changed int
		want    string
	}{
		{[]uint32{2, 4, 9}, false, 1, "2"}, // what has no body, or is not there, cannot be held
		{[]uint32{1}, false, 1, "12"},
		{[]uint32{1}, false, 0, "12"},
		{nil, false, 0, "12"},
		{[]uint32{1, 3}, true, 2, "13"},
		{[]uint32{1, 3}, true, 0, "13"},
		{nil, true, 2, ""},
	} {
		changed := all.Hold(step.numbers, step.only)
		if len(changed) != step.changed {
			t.Errorf("Hold(%v, %t) changes %d versions, want %d", step.numbers, step.only, len(changed), step.changed)
		}
		all = merge(all, changed)
		of(step.want)
	}
}

func TestOldVersions(t *testing.T) {
	// Four a day over 100 days, the last is live; the shadow is the second, and the
	// fourth is held.
	var all Versions
	for i := range 400 {
		all = append(all, Version{Number: uint32(i + 1), Status: Retired, Kept: true, Created: noon.Add(time.Duration(i) * 6 * time.Hour)})
	}
	all[1].Status, all[3].Held = Shadow, true
	all[399].Status, all[399].Before = Live, 3
	now := all[399].Created
	for range 2 { // bodies first
		bodies, gone := all.Old(now)
		all = merge(all, bodies)
		all = slices.DeleteFunc(all, func(v Version) bool { return slices.Contains(gone, v.Number) })
	}
	kept := map[int]int{} // by age in days
	for _, v := range all {
		if v.Kept {
			kept[int(now.Sub(v.Created)/(24*time.Hour))]++
		}
	}
	if all.Of(2) == nil || all.Of(3) == nil || !all.Of(2).Kept || !all.Of(3).Kept {
		t.Error("the shadow, or what the live version would be rolled back to, is gone")
	}
	for age := range 30 {
		want := 1
		if age < 5 {
			want = 4 // of the last twenty
		}
		if kept[age] != want {
			t.Errorf("%d bodies of %d days ago, want %d", kept[age], age, want)
		}
	}
	if held := all.Of(4); held == nil || !held.Kept {
		t.Error("what is held is gone")
	}
	if oldest := now.Sub(all[3].Created); oldest > keepRecord || len(all) < 4*90 {
		t.Errorf("%d versions are known, the fourth of %v ago", len(all), oldest)
	}
	if again, more := all.Old(now); len(again)+len(more) != 0 {
		t.Errorf("then %d and %d more are old", len(again), len(more))
	}
}

// A person who rolls back what was learned wants it to wait; one who rolls back
// what a person had chosen wants what was before, and that did not.
func TestRollbackPins(t *testing.T) {
	for _, chosen := range []bool{false, true} {
		all := Versions{{Number: 1, Status: Retired, Kept: true}, {Number: 2, Status: Live, Before: 1, Pinned: chosen, Kept: true}}
		changed, err := all.Rollback(2, "a whim", true, noon)
		if err != nil {
			t.Fatal(err)
		}
		if back := changed[1]; back.Number != 1 || back.Status != Live || back.Pinned == chosen {
			t.Errorf("after one that was chosen (%t): %+v", chosen, back)
		}
	}
}
