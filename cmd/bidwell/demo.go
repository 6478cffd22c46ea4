package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/loadtest"
)

// demoDocuments are the advertisers of the demo.
//
//go:embed demo.yaml
var demoDocuments []byte

// demoConfig sets the demo.
type demoConfig struct {
	Rate     float64
	Users    int
	Duration time.Duration
	Traffic  bool
}

func newDemoCommand() *cobra.Command {
	var demo demoConfig
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve demo advertisers and audiences to simulated exchange traffic",
		Long: `Start a bidder in a scratch folder with demo advertisers, campaigns and
audiences, and send it simulated exchange traffic at a gentle rate. It takes the
settings of "bidwell serve", but listens on this machine only unless --bid.listen
says otherwise, and has smaller tables. The scratch folder is removed at the end; with --data DIR the
demo keeps everything in that folder.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scratch, err := os.MkdirTemp("", "bidwell-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(scratch)
			if err := cmd.Flags().Lookup("data").Value.Set(scratch); err != nil {
				return err
			}
			cfg, err := loadConfig(cmd.Flags(), os.Environ)
			if err != nil {
				return fmt.Errorf("settings:\n%w", err)
			}
			return runDemo(cmd.Context(), cfg, demo, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addConfigFlags(cmd.Flags())
	for name, value := range map[string]string{
		"data": "a scratch folder", "public-url": "https://bid.example.com", "bid.listen": "127.0.0.1:8080", "drain-delay": "0s",
		"learn.bits": "18", "cache-mb": "32", // a laptop has other things to remember
	} {
		// Not as if it had been given: the file and the environment count more.
		f := cmd.Flags().Lookup(name)
		if err := f.Value.Set(value); err != nil {
			panic(err) // a default of ours is wrong
		}
		f.DefValue = value
	}
	cmd.Flags().Float64Var(&demo.Rate, "rate", 200, "bid requests a second")
	cmd.Flags().IntVar(&demo.Users, "users", 100_000, "simulated users")
	cmd.Flags().DurationVar(&demo.Duration, "duration", 0, "stop this long after the traffic has begun; 0: when interrupted")
	cmd.Flags().BoolVar(&demo.Traffic, "traffic", true, "send simulated traffic")
	return cmd
}

func runDemo(ctx context.Context, cfg config, demo demoConfig, stdout, stderr io.Writer) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if cfg.Role != roleAll {
		return fmt.Errorf("settings:\nrole: the demo is one process that does all, not %q", cfg.Role)
	}
	exchange := demo.exchange(cfg, stdout)
	if err := exchange.Validate(); err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	s, err := openServer(ctx, cfg, os.Getenv)
	if err != nil {
		return err
	}
	// The market closes first, so that the server still takes its last notices.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	trading, halt := context.WithCancel(ctx)
	defer halt()
	done := make(chan error, 1)
	go func() {
		defer halt() // a server that cannot start ends the demo
		done <- s.run(serving)
	}()

	err = s.fillDemo(trading, demo, stdout)
	if err == nil {
		at := ""
		if address := "http://" + cfg.Admin; address != adminAddress() {
			at = "--admin " + address + " "
		}
		fmt.Fprintf(stdout, `
bids:     POST http://%s/bid/generic
API:      http://%s/docs
metrics:  http://%[2]s/metrics
explain:  bin/bidwell explain %[3]sbidder/openrtb/testdata/generic/banner.request.json
stop:     Ctrl-C

`, reachable(cfg.Bid.Listen), cfg.Admin, at)
		if demo.Duration > 0 {
			defer time.AfterFunc(demo.Duration, halt).Stop()
		}
		if demo.Traffic {
			err = demoTraffic(trading, exchange, stdout)
		}
	}
	if err == nil {
		<-trading.Done()
	}
	if trading.Err() != nil {
		err = nil // stopping is no failure; what made the server stop is in done
	}
	stop()
	return errors.Join(err, <-done)
}

// fillDemo applies the demo's documents and uploads its audiences, through the
// same API that people use.
func (s *server) fillDemo(ctx context.Context, demo demoConfig, out io.Writer) error {
	documents, err := admin.ReadFile("demo.yaml", bytes.NewReader(demoDocuments))
	if err != nil {
		return err
	}
	client := admin.NewClient("http://" + s.cfg.Admin)
	defer client.Close()
	if err := s.await(ctx); err != nil {
		return err
	}
	applied, err := client.Apply(ctx, documents, false)
	if err != nil {
		return err
	}
	s.catalog.Nudge()
	fmt.Fprintf(out, "%d demo documents: advertisers, campaigns, line items, creatives, segments, deals\n", len(applied.Documents))

	population := loadtest.NewPopulation(1, demo.Users)
	for _, d := range documents {
		if d.Kind != "segments" || !slices.Contains(loadtest.SegmentNames(), d.ID) || !populated(population, d.ID) {
			continue
		}
		read, err := uploadMembers(ctx, client, population, d.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "segment %-16s %7d identifiers\n", d.ID, read)
	}
	return nil
}

// populated reports whether any simulated user is in a segment.
func populated(p *loadtest.Population, segment string) bool {
	for range p.Members(segment) {
		return true
	}
	return false
}

// uploadMembers makes the device ids and cookies of a segment's simulated
// members its members.
func uploadMembers(ctx context.Context, client *admin.Client, p *loadtest.Population, segment string) (read int64, err error) {
	for _, part := range []struct {
		id   loadtest.MemberID
		mode string
	}{{loadtest.MemberDevice, "replace"}, {loadtest.MemberCookie, "add"}} {
		list, write := io.Pipe()
		go func() {
			_, err := p.WriteMembers(write, segment, part.id, 0)
			write.CloseWithError(err)
		}()
		options := admin.ImportOptions{Segment: segment, Mode: part.mode, Kind: string(part.id)}
		result, err := client.Import(ctx, options, list)
		list.Close()
		if err != nil {
			return read, err
		}
		read += result.Read
	}
	return read, nil
}

// await waits until the server may take traffic. It asks the server itself and
// not its address, which may be another program's.
func (s *server) await(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{s.listening, s.catalog.Ready()} {
		select {
		case <-ctx.Done():
			return fmt.Errorf("start the demo: %w", ctx.Err())
		case <-ready:
		}
	}
	return nil
}

// exchange sets the simulated exchange of a demo.
func (d demoConfig) exchange(cfg config, out io.Writer) loadtest.ExchangeConfig {
	x := loadtest.DefaultExchangeConfig()
	x.URL = "http://" + reachable(cfg.Bid.Listen)
	x.Rate = d.Rate
	x.Start = time.Now() // the market's hour is the bidder's
	x.Users = d.Users
	x.Progress = out
	x.Exchanges = []string{"generic", "index", "pubmatic", "smaato"}
	return x
}

// demoTraffic sends simulated traffic until ctx ends.
func demoTraffic(ctx context.Context, exchange loadtest.ExchangeConfig, out io.Writer) error {
	card, err := loadtest.RunExchange(ctx, exchange)
	if card != nil {
		fmt.Fprintln(out, card)
	}
	return err
}

// reachable is a listening address as a client on this machine dials it.
func reachable(listen string) string {
	if listen != "" && listen[0] == ':' {
		return "127.0.0.1" + listen
	}
	return listen
}
