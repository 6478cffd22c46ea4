package loadtest

import (
	"bufio"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// AuctionMarket is what a made log of auctions is like.
type AuctionMarket struct {
	Rows int
	Seed uint64
	Days int // zero for one

	Floors bool // half of the auctions have a floor, often above the price
	Equal  bool // all prices and all click rates are the same
	Bursts bool // now and then three times the traffic for half an hour, as no profile knows
	Even   bool // the same traffic at any time
	Flat   bool // click rates differ little, as when no user has shown interest before

	// Exchanges name where the auctions are; none: nowhere in particular. Each
	// has prices and floors of its own: most floors are one of a few amounts,
	// many auctions are sold at the floor and many at round prices.
	Exchanges []string
}

// auctionProfile is the traffic of the hours of a day.
var auctionProfile = [24]float64{
	.55, .35, .22, .16, .16, .24, .45, .75, 1.05, 1.20, 1.25, 1.25,
	1.22, 1.18, 1.15, 1.12, 1.15, 1.22, 1.35, 1.55, 1.70, 1.60, 1.25, .88,
}

// AuctionProfile is the share of the traffic in each quarter of an hour of a
// day of a made log.
func AuctionProfile() []float64 {
	shares := make([]float64, 96)
	for i := range shares {
		hour, part := i/4, float64(i%4)/4
		shares[i] = auctionProfile[hour]*(1-part) + auctionProfile[(hour+1)%24]*part
	}
	return shares
}

// traffic is the weight of each quarter of an hour.
func (m *AuctionMarket) traffic(r *rand.Rand) []float64 {
	days := max(1, m.Days)
	var weights []float64
	for range days {
		level := 1.0
		if days > 1 {
			level = 0.8 + 0.4*r.Float64()
		}
		for _, w := range AuctionProfile() {
			if m.Even {
				w = 1
			}
			weights = append(weights, level*w)
		}
	}
	if m.Bursts {
		for range 4 * days {
			at := r.IntN(len(weights) - 1)
			weights[at] *= 3
			weights[at+1] *= 3
		}
	}
	return weights
}

// Make makes the log: log-normal prices that drift over the day, and click
// rates with a heavy tail that go with the prices.
func (m *AuctionMarket) Make() *AuctionLog {
	r := rand.New(rand.NewPCG(m.Seed, 0x61756374696f6e73))
	weights, sum := m.traffic(r), 0.0
	for _, w := range weights {
		sum += w
	}
	l := &AuctionLog{
		Time: make([]int64, 0, m.Rows), Price: make([]float64, 0, m.Rows), PCTR: make([]float64, 0, m.Rows), Click: make([]bool, 0, m.Rows),
		Exchanges: m.Exchanges,
	}
	sellers := m.sellers()
	start := DefaultStart.Truncate(24 * time.Hour).UnixNano()
	phase, walk := 2*math.Pi*r.Float64(), 0.0
	due := 0.0
	for slot, w := range weights {
		due += w / sum * float64(m.Rows)
		n := int(math.Round(due)) - l.Len()
		if m.Days > 1 { // prices come back to what is usual
			walk *= 0.98
		}
		walk += 0.05 * r.NormFloat64()
		drift := 0.25*math.Sin(2*math.Pi*float64(slot)/96+phase) + walk
		for p := range sellers {
			sellers[p].walk = 0.98*sellers[p].walk + 0.04*r.NormFloat64()
		}
		for i := range n {
			at := start + int64((float64(slot)+(float64(i)+r.Float64())/float64(n))*float64(replaySlot))
			shared := r.NormFloat64()
			price := math.Round(max(1, 70*math.Exp(0.7*(0.6*shared+0.8*r.NormFloat64())+drift-0.245)))
			spread := 1.1
			if m.Flat {
				spread = 0.35
			}
			pctr := min(0.5, 0.0008*math.Exp(spread*(0.4*shared+0.917*r.NormFloat64())-spread*spread/2))
			if !m.Flat && r.Float64() < 0.01 { // who has shown interest before
				pctr = min(0.5, 20*pctr)
			}
			if m.Equal {
				price, pctr = 70, 0.0008
			}
			floor := 0.0
			if m.Floors && r.Float64() < 0.5 {
				floor = math.Round(70 * math.Exp(0.8*r.NormFloat64()-0.5))
			}
			if len(sellers) > 0 {
				p := r.IntN(len(sellers))
				l.Exchange = append(l.Exchange, uint8(p+1))
				price, floor = sellers[p].auction(r, shared, 0.5*drift)
			}
			l.Time, l.Price, l.PCTR = append(l.Time, at), append(l.Price, price), append(l.PCTR, pctr)
			l.Click = append(l.Click, r.Float64() < pctr)
			if m.Floors || len(sellers) > 0 {
				l.Floor = append(l.Floor, floor)
			}
		}
	}
	return l
}

// seller is an exchange of a made log.
type seller struct {
	level  float64 // of prices, a logarithm
	spread float64
	unsold float64   // part of the auctions in which nobody else bids
	round  float64   // part of the prices that are round
	free   float64   // part of the auctions without a floor
	floors []float64 // of the others
	walk   float64   // how far prices have drifted, a logarithm
}

// sellers draws what the exchanges are like.
func (m *AuctionMarket) sellers() []seller {
	r := rand.New(rand.NewPCG(m.Seed, 0x706c61636573))
	usual := []float64{5, 10, 15, 20, 30, 35, 50, 60, 70, 80, 100, 118, 148}
	sellers := make([]seller, len(m.Exchanges))
	for i := range sellers {
		p := &sellers[i]
		p.level, p.spread = math.Log(55)+0.35*r.NormFloat64(), 0.45+0.5*r.Float64()
		p.unsold, p.round, p.free = 0.25*r.Float64(), 0.3*r.Float64(), 0.1+0.7*r.Float64()
		for _, f := range r.Perm(len(usual))[:3+r.IntN(6)] {
			p.floors = append(p.floors, usual[f])
		}
	}
	return sellers
}

// auction draws the highest bid of the others and the floor. Publishers ask
// more for what brings more.
func (p *seller) auction(r *rand.Rand, shared, drift float64) (price, floor float64) {
	level := p.level + drift + p.walk
	if r.Float64() >= p.free {
		floor = p.floors[r.IntN(len(p.floors))]
		level = 0.7*level + 0.3*math.Log(floor)
	}
	if r.Float64() < p.unsold {
		return max(floor, 1), floor
	}
	price = math.Exp(level + p.spread*(0.35*shared+0.937*r.NormFloat64()))
	if r.Float64() < p.round {
		price = 10 * math.Round(price/10)
	}
	return max(1, min(300, math.Round(price))), floor
}

// Write writes the log as CSV, in the form that [ReadAuctionLog] reads, and
// returns its rows.
func (l *AuctionLog) Write(w *bufio.Writer) (int, error) {
	header := "time,price,pctr,click"
	if l.Exchange != nil {
		header += ",exchange"
	}
	if l.Floor != nil {
		header += ",floor"
	}
	if _, err := io.WriteString(w, header+"\n"); err != nil {
		return 0, err
	}
	var line []byte
	for i := range l.Len() {
		line = strconv.AppendInt(line[:0], l.Time[i]/int64(time.Millisecond), 10)
		line = strconv.AppendFloat(append(line, ','), l.Price[i], 'f', -1, 64)
		line = strconv.AppendFloat(append(line, ','), l.PCTR[i], 'g', 6, 64)
		if l.Click != nil && l.Click[i] {
			line = append(line, ",1"...)
		} else {
			line = append(line, ",0"...)
		}
		if l.Exchange != nil {
			line = append(append(line, ','), l.Exchanges[l.Exchange[i]-1]...)
		}
		if l.Floor != nil {
			line = strconv.AppendFloat(append(line, ','), l.Floor[i], 'f', -1, 64)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return i, err
		}
	}
	return l.Len(), nil
}
