package models

import "bidwell/rtb"

// Lesson is an impression as it is learned from. Its fields are of fixed size:
// it is kept as it is, for weeks and on disk, so it does not say who it was.
type Lesson struct {
	Bid      rtb.BidID
	Time     int64 // Unix seconds: of the impression, and of the click once it was clicked
	Campaign rtb.CampaignID
	Creative rtb.CreativeID
	CTR      float32 // as it made the price
	WinRate  float32 // the chance to win that it had
	Model    uint32
	Clicked  bool
	Features rtb.Features
}

func lessonOf(e *rtb.Event) Lesson {
	return Lesson{
		Bid: e.Bid, Time: e.Time.Unix(), Campaign: e.Campaign, Creative: e.Creative,
		CTR: e.CTR, Model: e.Model, Features: e.Features,
	}
}

// queue are lessons in the order of their time, and which of them is of which
// bid. Those that are removed from the middle leave a gap.
type queue struct {
	most    int
	lessons []Lesson // from head on; a bid of zeros is a gap
	head    int
	dropped uint64 // how many there were before lessons[0], ever
	at      map[rtb.BidID]uint64
}

func (q *queue) len() int { return len(q.at) }

// push appends a lesson. When there are too many the oldest makes room.
func (q *queue) push(s Lesson) (old Lesson, crowded bool) {
	if q.at == nil {
		q.at = map[rtb.BidID]uint64{}
	}
	if len(q.at) >= q.most && q.first() != nil {
		old, crowded = q.pop(), true
	}
	q.compact()
	q.at[s.Bid] = q.dropped + uint64(len(q.lessons))
	q.lessons = append(q.lessons, s)
	return old, crowded
}

// compact gives back the memory of what has left.
func (q *queue) compact() {
	if q.head > 1024 && q.head > len(q.lessons)/2 {
		n := copy(q.lessons, q.lessons[q.head:])
		q.lessons = q.lessons[:n]
		q.dropped += uint64(q.head)
		q.head = 0
	}
}

// first is the oldest, nil when there is none. It is valid until the next push.
func (q *queue) first() *Lesson {
	for q.head < len(q.lessons) {
		if s := &q.lessons[q.head]; s.Bid != (rtb.BidID{}) {
			return s
		}
		q.head++
	}
	return nil
}

// pop removes the oldest, which must be there.
func (q *queue) pop() Lesson {
	s := *q.first()
	delete(q.at, s.Bid)
	q.head++
	return s
}

func (q *queue) find(bid rtb.BidID) *Lesson {
	at, ok := q.at[bid]
	if !ok {
		return nil
	}
	return &q.lessons[at-q.dropped]
}

func (q *queue) remove(bid rtb.BidID) (Lesson, bool) {
	found := q.find(bid)
	if found == nil {
		return Lesson{}, false
	}
	s := *found
	*found = Lesson{}
	delete(q.at, bid)
	return s, true
}
