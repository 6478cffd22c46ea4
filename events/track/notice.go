package track

import (
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"bidwell/rtb"
)

// What a Price function says of a notice without a price that can be used.
var (
	ErrNoPrice    = errors.New("notice without a price")         // or the macro is blank
	ErrUnexpanded = errors.New("price macro was not replaced")   // it stands there as we sent it
	ErrAudit      = errors.New("price macro says AUDIT")         // a look at the ad, without an auction
	ErrNoKeys     = errors.New("no keys to open the price with") // the price is rtb.UnreadablePrice then
)

// read takes from the notice what is not in its token, and has it billed.
// Macros that an exchange left as they are, or replaced by nothing or by AUDIT,
// say nothing (OpenRTB 2.6, 4.4).
func (h *Handler) read(e *rtb.Event, args *fasthttp.Args) result {
	var err error
	switch e.Type {
	case rtb.EventWin, rtb.EventBill, rtb.EventLoss, rtb.EventView:
		e.Price, err = h.Price(e.Exchange, args.Peek("p"))
		prices[e.Type][formOf(err)].Inc()
		if e.Type == rtb.EventWin || e.Type == rtb.EventLoss {
			e.MinToWin = cpmOf(args.Peek("m"))
		}
		if e.Type == rtb.EventLoss {
			e.Reason = numberOf(args.Peek("r"))
		}
	case rtb.EventVideo:
		if e.Part = partOf(args.Peek("v")); e.Part == 0 {
			return unknownPart
		}
		if e.Part == playerError {
			return failed
		}
	case rtb.EventConversion:
		if text := args.Peek("v"); len(text) > 0 {
			if e.Value, err = rtb.ParseMoney(string(text)); err != nil || e.Value < 0 || e.Value > rtb.MaxConversion {
				return badValue
			}
		}
	}
	if err != ErrAudit {
		h.Bill(e)
	}
	return accepted
}

// cpmOf reads a price per thousand; zero is what cannot be read.
func cpmOf(macro []byte) rtb.Money {
	if len(macro) == 0 || len(macro) > 32 {
		return 0
	}
	for _, c := range macro {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0
		}
	}
	cpm, err := strconv.ParseFloat(string(macro), 64)
	if err != nil || cpm < 0 || cpm > 1e6 {
		return 0
	}
	return rtb.FromCPM(cpm)
}

// numberOf reads a code of a list; zero is what cannot be read.
func numberOf(macro []byte) uint16 {
	if len(macro) == 0 || len(macro) > 5 {
		return 0
	}
	n := 0
	for _, c := range macro {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n > 1<<16-1 {
		return 0
	}
	return uint16(n)
}

// playerError is the part of a video that could not be played. It is counted
// and not kept.
const playerError = 6

// partOf is the part of a video by its name in VAST; zero is none.
func partOf(name []byte) uint8 {
	switch string(name) {
	case "start":
		return 1
	case "firstQuartile":
		return 2
	case "midpoint":
		return 3
	case "thirdQuartile":
		return 4
	case "complete":
		return 5
	case "error":
		return playerError
	}
	return 0
}
