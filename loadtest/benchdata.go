package loadtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// benchData fills the bidder with line items and known users, the way people
// do it: `bidwell apply` and `bidwell audience import`.
func benchData(ctx context.Context, cfg BenchConfig, dir, admin string) error {
	population := NewPopulation(cfg.Seed, cfg.Users)
	documents := filepath.Join(dir, "line-items.json")
	f, err := os.Create(documents)
	if err != nil {
		return err
	}
	items := Generate{Kind: "line-items", Count: cfg.LineItems, Seed: cfg.Seed, Users: cfg.Users}
	_, err = items.Write(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(cfg.Progress, "applying %d line items\n", cfg.LineItems)
	if err := command(ctx, cfg.Bidwell, "apply", "--admin", admin, "-f", documents); err != nil {
		return err
	}
	for _, segment := range SegmentNames() {
		for _, id := range []MemberID{MemberDevice, MemberCookie} {
			list := filepath.Join(dir, segment+".txt")
			f, err := os.Create(list)
			if err != nil {
				return err
			}
			n, err := population.WriteMembers(f, segment, id, 0)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cfg.Progress, "importing %d ids into %s\n", n, segment)
			if err := command(ctx, cfg.Bidwell, "audience", "import", "--admin", admin, "--segment", segment, "--kind", string(id), list); err != nil {
				return err
			}
		}
	}
	return nil
}

// command runs a program to its end.
func command(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(args[0]), args[1], err, out)
	}
	return nil
}

// benchBodies are requests of the simulated market that the bidder answers
// with a bid: a no-bid is cheaper, and would flatter.
func benchBodies(ctx context.Context, cfg BenchConfig, bid *benchServer) ([][]byte, error) {
	to, err := parseEndpoint(bid.url + "/bid/" + cfg.Exchange)
	if err != nil {
		return nil, err
	}
	traffic := NewTraffic(TrafficConfig{Seed: cfg.Seed, Users: cfg.Users, Exchanges: []string{cfg.Exchange}, TMax: time.Second})
	w := newWire(to)
	defer w.close()
	var offer Offer
	var bodies [][]byte
	var request []byte
	asked := 0
	for i := 0; len(bodies) < cfg.Requests; i++ {
		if i > 100*cfg.Requests+10_000 {
			return nil, fmt.Errorf("only %d of %d requests are answered with a bid", len(bodies), asked)
		}
		traffic.Offer(i, DefaultStart, &offer)
		request = to.appendRequest(request[:0], offer.Body, plain)
		answer, err := w.do(request, time.Now().Add(5*time.Second))
		if err != nil {
			return nil, err
		}
		asked++
		if answer.status == 200 {
			bodies = append(bodies, append([]byte(nil), offer.Body...))
		}
	}
	return bodies, ctx.Err()
}
