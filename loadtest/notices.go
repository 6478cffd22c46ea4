package loadtest

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NoticeKind is why an address is called.
type NoticeKind string

// The kinds of notice.
const (
	NoticeWin        NoticeKind = "nurl"
	NoticeBill       NoticeKind = "burl"
	NoticeLoss       NoticeKind = "lurl"
	NoticeImpression NoticeKind = "impression"
	NoticeClick      NoticeKind = "click"
	NoticeVideo      NoticeKind = "video"
	NoticeConversion NoticeKind = "conversion"
)

// NoticeKinds lists them all, in the order in which they happen.
var NoticeKinds = [...]NoticeKind{NoticeLoss, NoticeWin, NoticeImpression, NoticeBill, NoticeVideo, NoticeClick, NoticeConversion}

// notice is one copy of a notice on its way.
type notice struct {
	due     int64 // simulated time, Unix nanoseconds
	order   uint64
	address string
	kind    NoticeKind
	tries   int
	unsure  bool    // a try may have arrived although nobody said so
	charge  *charge // what it spends once it has come; nil for what spends nothing
	sale    *sale   // of a click, what it leads to; nil when nothing
}

// sale is a purchase that follows a click once the click has come.
type sale struct {
	purchase
	dice dice // of its notice
	made atomic.Bool
}

// maxNotices bounds what is on its way. With more, those that would come next
// come early.
const maxNotices = 2_000_000

// notifier delivers notices, each when its simulated time has come, at the
// bidder's listener whatever host they name: in a test the public host leads
// nowhere. Auctions wait while more are due than its connections can take, so
// a slow bidder slows the market rather than filling memory.
type notifier struct {
	to        endpoint // of the bidder
	prefix    string   // path before that of the address
	wait      time.Duration
	fates     *NoticeFates
	simulated bool            // tell the bidder the time
	told      context.Context // when it ends, nothing is tried again
	tally     *tally
	workers   sync.WaitGroup

	mu       sync.Mutex
	work     sync.Cond // something is due, or all is done
	room     sync.Cond // what is due became less
	now      int64     // simulated time, Unix nanoseconds
	waiting  noticeHeap
	ready    []*notice // due, in order
	limit    int       // of ready
	retrying int       // between two tries
	busy     int       // in a worker's hands
	ending   bool      // time moves on by itself
}

func newNotifier(told context.Context, to endpoint, prefix string, cfg *ExchangeConfig, t *tally) *notifier {
	n := &notifier{
		to: to, prefix: prefix, wait: 5 * time.Second, fates: &cfg.Fates, simulated: cfg.SimulatedTime,
		told: told, tally: t, now: cfg.Start.UnixNano(), limit: 2 * cfg.NoticeConns,
	}
	n.work.L, n.room.L = &n.mu, &n.mu
	for range cfg.NoticeConns {
		n.workers.Go(n.deliverAll)
	}
	return n
}

// advance moves the simulated time on to that of an auction, and waits while
// too much is due.
func (n *notifier) advance(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moveTo(now.UnixNano())
	if len(n.ready)+n.retrying <= n.limit {
		return
	}
	defer context.AfterFunc(n.told, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.room.Broadcast()
	})()
	for len(n.ready)+n.retrying > n.limit && n.told.Err() == nil {
		n.room.Wait()
	}
}

func (n *notifier) moveTo(now int64) {
	n.now = max(n.now, now)
	for len(n.waiting) > 0 && (n.waiting[0].due <= n.now || len(n.waiting) > maxNotices) {
		n.ready = append(n.ready, n.waiting.pop())
		n.work.Signal()
	}
}

// put sends notices on their way.
func (n *notifier) put(notices []*notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range notices {
		n.waiting.push(one)
	}
	n.moveTo(n.now)
}

// finish lets time move on until all notices are delivered. Nothing may be
// told afterwards.
func (n *notifier) finish() {
	n.mu.Lock()
	n.ending = true
	n.work.Broadcast()
	n.mu.Unlock()
	n.workers.Wait()
}

// take waits for a notice that is due; nil when all is done.
func (n *notifier) take() *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if n.ending && len(n.ready) == 0 && n.retrying == 0 && len(n.waiting) > 0 {
			n.moveTo(n.waiting[0].due)
		}
		if len(n.ready) > 0 {
			one := n.ready[0]
			n.ready[0] = nil
			n.ready = n.ready[1:]
			n.busy++
			if len(n.ready)+n.retrying <= n.limit {
				n.room.Broadcast()
			}
			return one
		}
		if n.ending && n.busy+n.retrying+len(n.waiting) == 0 {
			n.work.Broadcast()
			return nil
		}
		n.work.Wait()
	}
}

// timesOf are between which times of the bidder's clock a notice arrived.
func (n *notifier) timesOf(one *notice, sent time.Time) (from, until time.Time) {
	if !n.simulated {
		return sent, time.Now()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Unix(0, one.due), time.Unix(0, n.now)
}

func (n *notifier) deliverAll() {
	w := newWire(n.to)
	defer w.close()
	var request []byte
	for {
		one := n.take()
		if one == nil {
			return
		}
		sent := time.Now()
		var err error
		if request, err = n.appendGet(request[:0], one); err != nil {
			n.done(one, false, err)
			continue
		}
		answer, err := w.do(request, sent.Add(n.wait))
		switch {
		case err == nil && answer.status >= 200 && answer.status < 400:
			if one.sale != nil {
				n.convert(one, answer.location)
			}
			if one.charge != nil {
				one.charge.tell(n.timesOf(one, sent))
			}
			n.done(one, false, nil)
		case err == nil && answer.status < 500 && answer.status != 429:
			n.done(one, false, errRefused)
		default:
			one.unsure = true
			n.done(one, true, errUnanswered)
		}
	}
}

var (
	errRefused    = errors.New("the bidder refused the notice")
	errUnanswered = errors.New("the bidder did not take the notice")
)

// done counts what became of a notice. One that failed may be tried again.
func (n *notifier) done(one *notice, again bool, err error) {
	again = again && one.tries < n.fates.Retries && n.told.Err() == nil
	switch {
	case again:
		n.tally.retried(one.kind)
	default:
		if err != nil && one.charge != nil {
			one.charge.fail(one.unsure)
		}
		n.tally.notice(one.kind, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy--
	if again {
		n.retrying++
		pause := 100 * time.Millisecond << min(one.tries, 5)
		one.tries++
		time.AfterFunc(pause, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.retrying--
			n.ready = append(n.ready, one)
			n.work.Signal()
		})
	}
	if n.ending {
		n.work.Broadcast()
	}
}

// convert calls the conversion of a click's purchase when its time has come,
// with the click id that the landing page was given.
func (n *notifier) convert(click *notice, location []byte) {
	s := click.sale
	id := clickID(location)
	if id == "" || s.made.Swap(true) {
		return
	}
	address := "/e/conversion?t=" + url.QueryEscape(id) + "&v=" + strconv.FormatFloat(s.value, 'f', 2, 64)
	var notices []*notice
	var trips [2]trip
	drawn := n.fates.draw(&s.dice, &trips)
	n.tally.drawn(NoticeConversion, drawn)
	for i, t := range drawn {
		notices = append(notices, &notice{
			due: click.due + int64(s.after) + int64(t.takes), order: click.order<<1 | uint64(i), kind: NoticeConversion, address: "https://" + n.to.host + address,
		})
	}
	n.put(notices)
}

// clickID is the click id in the address of a landing page: what stands for
// {CLICK_ID} there, in a parameter of the usual names.
func clickID(location []byte) string {
	u, err := url.Parse(string(location))
	if err != nil {
		return ""
	}
	query := u.Query()
	if id := query.Get("click_id"); id != "" {
		return id
	}
	return query.Get("bidwell_click_id")
}

// hostOf is the host of an absolute https or http address, else "".
func hostOf(address string) string {
	rest, ok := strings.CutPrefix(address, "https://")
	if !ok {
		if rest, ok = strings.CutPrefix(address, "http://"); !ok {
			return ""
		}
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// pathOf is the path and query of an absolute address.
func pathOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	start := strings.IndexAny(rest, "/?#")
	if start < 0 {
		return "/"
	}
	rest, _, _ = strings.Cut(rest[start:], "#")
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest
}

var (
	errNotAbsolute = errors.New("the address is not absolute")
	errBadAddress  = errors.New("the address has a space or a control character")
)

// appendGet appends the request for an address.
func (n *notifier) appendGet(dst []byte, one *notice) ([]byte, error) {
	address := one.address
	if hostOf(address) == "" {
		return dst, errNotAbsolute
	}
	for i := range len(address) {
		if address[i] <= ' ' || address[i] == 0x7f {
			return dst, errBadAddress
		}
	}
	dst = append(dst, "GET "...)
	dst = append(dst, n.prefix...)
	dst = append(dst, pathOf(address)...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, n.to.host...)
	dst = append(dst, "\r\n"...)
	if n.simulated {
		dst = appendTime(dst, time.Unix(0, one.due))
	}
	return append(dst, "\r\n"...), nil
}

// noticeHeap has the notice that is due first at the front.
type noticeHeap []*notice

func (a *notice) before(b *notice) bool {
	return a.due < b.due || a.due == b.due && a.order < b.order
}

func (h *noticeHeap) push(one *notice) {
	s := append(*h, one)
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			break
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
	*h = s
}

func (h *noticeHeap) pop() *notice {
	s := *h
	first, last := s[0], len(s)-1
	s[0], s[last] = s[last], nil
	s = s[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			break
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
	*h = s
	return first
}
