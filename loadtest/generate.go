package loadtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Generate makes the data that the other commands and the bidder run on. The
// same settings always give the same bytes, and users of one seed and number
// are those of the requests of the same seed and number, so an uploaded
// audience is met again in device.ifa and user.buyeruid.
type Generate struct {
	Kind      string   // "requests", "users", "line-items" or "auctions"
	Count     int      // of requests, line items or auctions; of users, 0 for all
	Seed      uint64   // of the market: people, publishers, requests
	Users     int      // people in the market; 0: a million
	Exchanges []string // requests: who sends them; empty: generic. Auctions: where they are, with floors; empty: nowhere in particular
	Days      int      // auctions: of how many days; zero: one
	Segment   string   // users: only those of this one
	ID        MemberID // users: which identifier; empty: device

	// Progress is told now and then how many are done; nil for none.
	Progress func(done int)
}

// Validate reports every setting that is wrong.
func (g *Generate) Validate() error {
	var errs []error
	if !slices.Contains([]string{"requests", "users", "line-items", "auctions"}, g.Kind) {
		errs = append(errs, fmt.Errorf("kind: %q is none of requests, users, line-items and auctions", g.Kind))
	}
	if g.Count < 0 || g.Count == 0 && g.Kind != "users" {
		errs = append(errs, errors.New("count: must be positive"))
	}
	if g.Kind == "auctions" && g.Count > maxAuctions {
		errs = append(errs, fmt.Errorf("count: want at most %d auctions", maxAuctions))
	}
	if g.Days < 0 || g.Days > 366 {
		errs = append(errs, errors.New("days: want 1 to 366"))
	}
	if len(g.Exchanges) > maxLogExchanges {
		errs = append(errs, fmt.Errorf("exchanges: want at most %d", maxLogExchanges))
	}
	if g.Users < 0 {
		errs = append(errs, errors.New("users: must not be negative"))
	}
	for _, name := range g.Exchanges {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			errs = append(errs, fmt.Errorf("exchanges: %q is not a name of lower-case letters and digits", name))
		}
	}
	if g.Segment != "" && !slices.Contains(segmentNames[:], g.Segment) {
		errs = append(errs, fmt.Errorf("segment: %q is none of %s", g.Segment, strings.Join(segmentNames[:], ", ")))
	}
	if g.ID != "" && g.ID != MemberDevice && g.ID != MemberCookie && g.ID != MemberEmail {
		errs = append(errs, fmt.Errorf("id: %q is none of device, cookie and email", g.ID))
	}
	return errors.Join(errs...)
}

// Write writes the data and returns how many things of the kind it holds.
func (g *Generate) Write(w io.Writer) (int, error) {
	run := *g
	if run.Users == 0 {
		run.Users = 1_000_000
	}
	if run.ID == "" {
		run.ID = MemberDevice
	}
	if run.Progress == nil {
		run.Progress = func(int) {}
	}
	if err := run.Validate(); err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(w, 256<<10)
	var n int
	var err error
	switch run.Kind {
	case "requests":
		n, err = run.requests(out)
	case "users":
		n, err = run.users(out)
	case "auctions":
		n, err = (&AuctionMarket{Rows: run.Count, Seed: run.Seed, Days: run.Days, Exchanges: run.Exchanges}).Make().Write(out)
	default:
		n, err = run.Count, WriteLineItems(out, LineItemsConfig{Seed: run.Seed, Count: run.Count, Progress: run.Progress})
	}
	return n, errors.Join(err, out.Flush())
}

// progressStep is how many are made between two calls of Progress.
const progressStep = 1 << 13

// requests writes JSON lines as [ReadFiles] reads them. They are spread evenly
// over a week from [DefaultStart].
func (g *Generate) requests(w *bufio.Writer) (int, error) {
	traffic := NewTraffic(TrafficConfig{Seed: g.Seed, Users: g.Users, Exchanges: g.Exchanges})
	step := 7 * 24 * time.Hour / time.Duration(g.Count)
	var offer Offer
	for i := range g.Count {
		traffic.Offer(i, DefaultStart.Add(time.Duration(i)*step), &offer)
		if _, err := fmt.Fprintf(w, `{"name":"%d","exchange":%q,"kind":%q,"valid":true,"body":%s}`+"\n", i, offer.Exchange, offer.kind(), offer.Body); err != nil {
			return i, err
		}
		if i%progressStep == 0 {
			g.Progress(i)
		}
	}
	return g.Count, nil
}

// kind is what is on offer, "multi" for several kinds of ad.
func (o *Offer) kind() string {
	var offered [5]bool
	for i := range o.Slots {
		s := &o.Slots[i]
		offered[banner] = offered[banner] || s.Banner
		offered[video] = offered[video] || s.Video
		offered[audio] = offered[audio] || s.Audio
		offered[native] = offered[native] || s.Native
	}
	kind := ""
	for media, is := range offered {
		if is && kind != "" {
			return "multi"
		}
		if is {
			kind = mediaNames[media]
		}
	}
	return kind
}

// users writes one identifier a line, as an audience upload takes them.
func (g *Generate) users(w *bufio.Writer) (int, error) {
	people := NewPopulation(g.Seed, g.Users)
	if g.Segment != "" {
		return people.WriteMembers(w, g.Segment, g.ID, g.Count)
	}
	count := g.Count
	if count == 0 || count > people.Len() {
		count = people.Len()
	}
	var line []byte
	for i := range count {
		user := people.User(i)
		switch line = line[:0]; g.ID {
		case MemberCookie:
			line = append(line, user.Cookie[:]...)
		case MemberEmail:
			line = user.AppendEmail(line)
		default:
			line = append(line, user.Device[:]...)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return i, err
		}
		if i%progressStep == 0 {
			g.Progress(i)
		}
	}
	return count, nil
}
