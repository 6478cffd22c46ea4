package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// noticeConns is how many exchanges' connections wait for an answer at a time:
// each waits for the disk.
const noticeConns = 512

// notices measures what billing notices cost: it makes bids, bills each of
// them once, and waits until the books have all of them.
func (s *benchServer) notices(ctx context.Context, cfg BenchConfig, bodies [][]byte, out *BenchResult) error {
	if cfg.Notices == 0 {
		return nil
	}
	requests, err := s.billings(ctx, cfg, bodies)
	if err != nil {
		return err
	}
	fmt.Fprintf(cfg.Progress, "sending %d billing notices\n", len(requests))
	to, err := parseEndpoint(s.url)
	if err != nil {
		return err
	}
	booked, err := s.booked(ctx)
	if err != nil {
		return err
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	sent, err := poll(to.addr, requests, min(noticeConns, len(requests)), time.Minute, true)
	if err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	out.Notices = sent.requests - sent.failures
	out.NoticeRate = float64(out.Notices) / time.Since(start).Seconds()
	out.Failures += sent.failures
	for deadline := time.Now().Add(30 * time.Second); ; {
		now, err := s.booked(ctx)
		if err != nil {
			return err
		}
		if out.NoticesBooked = now - booked; out.NoticesBooked >= out.Notices || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	after, err := s.cpu()
	out.NoticeMicros = float64((after - before).Microseconds()) / float64(max(1, out.Notices))
	if err == nil && out.NoticesBooked != out.Notices {
		err = fmt.Errorf("%d notices were acknowledged, %d are booked", out.Notices, out.NoticesBooked)
	}
	return err
}

// billings are requests that bill bids, each a bid of its own.
func (s *benchServer) billings(ctx context.Context, cfg BenchConfig, bodies [][]byte) ([][]byte, error) {
	to, err := parseEndpoint(s.url + "/bid/" + cfg.Exchange)
	if err != nil {
		return nil, err
	}
	w := newWire(to)
	defer w.close()
	fmt.Fprintf(cfg.Progress, "making %d bids\n", cfg.Notices)
	requests := make([][]byte, 0, cfg.Notices)
	var request []byte
	for i := 0; len(requests) < cfg.Notices; i++ {
		if i > 4*cfg.Notices+1000 {
			return nil, fmt.Errorf("only %d of %d requests are answered with a bid that names a burl", len(requests), i)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		request = to.appendRequest(request[:0], bodies[i%len(bodies)], plain)
		answer, err := w.do(request, time.Now().Add(5*time.Second))
		if err != nil {
			return nil, err
		}
		if answer.status != 200 {
			continue
		}
		var response bidAnswer
		if err := json.Unmarshal(answer.body, &response); err != nil {
			return nil, fmt.Errorf("answer: %w", err)
		}
		for _, seat := range response.SeatBid {
			for i := range seat.Bid {
				if burl := seat.Bid[i].BURL; burl != "" && len(requests) < cfg.Notices {
					macros := Macros{Price: priceStep}
					path := pathOf(macros.Expand(burl))
					requests = append(requests, []byte("GET "+path+" HTTP/1.1\r\nHost: "+to.host+"\r\n\r\n"))
				}
			}
		}
	}
	return requests, nil
}

// booked counts the billing notices in the server's books.
func (s *benchServer) booked(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/v1/discrepancies", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, errors.New("GET /v1/discrepancies: " + strings.ToLower(resp.Status))
	}
	var report struct {
		Rows []struct {
			Counts struct {
				Bill int64 `json:"bill"`
			} `json:"counts"`
		} `json:"rows"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		return 0, fmt.Errorf("GET /v1/discrepancies: %w", err)
	}
	n := int64(0)
	for _, row := range report.Rows {
		n += row.Counts.Bill
	}
	return n, nil
}
