// Command loadtest is the other side of bidwell: it plays an exchange's
// certification, sends load at a fixed rate, simulates a market, and makes the
// requests, users and line items to do so. It speaks HTTP to the bidder and
// knows nothing of its inside.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

// run is main with its inputs made explicit, so that tests can start the whole
// program. It fails when what a command checks does not hold.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "loadtest",
		Short:         "Test a bidder from the exchange's side",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(attackCommand(), benchCommand(), conformCommand(), newCrashCommand(), echoCommand(), generateCommand(), newExchangeCommand(), experimentCommand(), newLearnCommand(), replayCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// printJSON writes v as one JSON object.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
