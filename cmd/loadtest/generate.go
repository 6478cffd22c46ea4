package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func generateCommand() *cobra.Command {
	var (
		generate loadtest.Generate
		id, out  string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "generate --kind requests|users|line-items|auctions --count N",
		Short: "Make requests, users, line items or an auction log, always the same for a seed",
		Long: `Makes bid requests as JSON lines for conform and attack, user ids one a line for an audience upload, line items with all
they need as a file for "bidwell apply -f", or days of auctions as CSV for replay. With the same --seed and --users, requests are of the users made.`,
		Example: `  loadtest generate --kind requests --count 2000 --out requests.jsonl
  loadtest generate --kind users --segment runners --out runners.txt
  loadtest generate --kind auctions --count 200000 --out auctions.csv
  loadtest generate --kind auctions --count 200000 --days 3 --exchanges 1,2,3,4 --out first.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			generate.ID = loadtest.MemberID(id)
			generate.Progress = progress(cmd.ErrOrStderr(), generate.Kind)
			w, stdout := cmd.OutOrStdout(), out == "" || out == "-"
			if !stdout {
				file, err := os.Create(out)
				if err != nil {
					return err
				}
				defer file.Close()
				w = file
			} else if asJSON {
				return errors.New("json: needs --out, since the data goes to standard output")
			}
			start := time.Now()
			n, err := generate.Write(w)
			if file, ok := w.(*os.File); ok && !stdout {
				err = errors.Join(err, file.Close())
			}
			if err != nil {
				return fmt.Errorf("generate: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"kind": generate.Kind, "count": n, "out": out, "seconds": time.Since(start).Seconds()})
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&generate.Kind, "kind", "", "requests, users, line-items or auctions")
	flags.IntVar(&generate.Count, "count", 0, "how many; must be given, but for users: 0 is all of them")
	flags.Uint64Var(&generate.Seed, "seed", 1, "of people, publishers, requests and line items")
	flags.IntVar(&generate.Users, "users", 1_000_000, "people in the market")
	flags.StringSliceVar(&generate.Exchanges, "exchanges", nil, "requests: who sends them (default generic); auctions: where they are, with floors")
	flags.IntVar(&generate.Days, "days", 1, "auctions: of how many days")
	flags.StringVar(&generate.Segment, "segment", "", "users: only those of this segment")
	flags.StringVar(&id, "id", "device", "users: device, cookie or email")
	flags.StringVar(&out, "out", "", "file to write (default standard output)")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object when done")
	require(cmd, "kind")
	return cmd
}

// progress tells each second how far it is.
func progress(w io.Writer, kind string) func(done int) {
	next := time.Now().Add(time.Second)
	return func(done int) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			fmt.Fprintf(w, "%d %s\n", done, kind)
		}
	}
}
