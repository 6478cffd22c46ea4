package models

import (
	"encoding/binary"
	"testing"
	"time"

	"bidwell/rtb"
)

// What came before a state was written is a repeat after it was read, too.
func TestRepeatsAreKnownAfterARestart(t *testing.T) {
	l, s := testLearner(t, nil), newShop(3)
	var err error
	if l.Shader, err = NewShader(DefaultShaderConfig()); err != nil {
		t.Fatal(err)
	}
	shown, _, _ := s.impression(1)
	win := rtb.Event{
		Type: rtb.EventWin, Time: s.now, Bid: rtb.BidID{1}, Campaign: 1, Auction: firstPriceAuction,
		Worth: 2 * rtb.OneCPM, Cost: rtb.OneCPM, Price: rtb.OneCPM,
	}
	order := rtb.Event{Type: rtb.EventConversion, Time: s.now, Bid: rtb.BidID{2}, Campaign: 1, Value: rtb.Unit}
	pause, over := rtb.Event{Type: rtb.EventLoss, Time: s.now.Add(time.Hour)}, rtb.Event{Type: rtb.EventLoss, Time: s.now.Add(2 * time.Hour)}
	if err := l.Apply(1, []rtb.Event{shown, win, order, pause, over}); err != nil || l.Open() != 0 {
		t.Fatal(err, l.Open())
	}
	restored, err := RestoreLearner(l.cfg, l.AppendState(nil))
	if err != nil {
		t.Fatal(err)
	}
	bill := win
	bill.Type = rtb.EventBill
	if err := restored.Apply(2, []rtb.Event{shown, bill, order}); err != nil {
		t.Fatal(err)
	}
	if restored.Stats().Priced != 1 || restored.Open() != 0 || restored.orders[1].Count != 1 {
		t.Errorf("%d prices, %d impressions that wait, %v orders; want 1, 0, 1", restored.Stats().Priced, restored.Open(), restored.orders[1].Count)
	}
	if b := restored.AppendState([]byte("before")); string(b[:6]) != "before" || len(b) != 6+restored.stateSize {
		t.Error("a state is not appended")
	}
}

// Of a busy bidder: as many impressions wait as may.
func BenchmarkLearnerState(b *testing.B) {
	l, s := testLearner(b, func(cfg *LearnerConfig) { cfg.ClickWait = 24 * time.Hour }), newShop(1)
	e, _, _ := s.impression(1)
	var hashes []uint32
	for i := range uint32(43) {
		hashes = append(hashes, i*0x9e3779b1)
	}
	e.Features.Set(hashes)
	for i := range l.cfg.MaxOpen {
		binary.LittleEndian.PutUint64(e.Bid[8:], uint64(i))
		l.take(&e)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(l.AppendState(nil))))
	}
}
