// Command bidwell runs the bidder: bid requests, notices and the admin API in
// one process, and the tools to work with it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bidwell:", err)
		os.Exit(1)
	}
}

// run is main with its inputs made explicit, so that tests can start the
// whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "bidwell",
		Short:         "A programmatic bidder that you run yourself",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServeCommand(), newDemoCommand(), newApplyCommand(), newAudienceCommand(), newConversionsCommand(),
		newExplainCommand(), newReportCommand(), newModelCommand(), newExperimentCommand(), newVersionCommand(),
	)
	for _, group := range root.Commands() {
		if !group.Runnable() {
			group.RunE = unknownCommand
		}
	}
	return root.ExecuteContext(ctx)
}

// unknownCommand is what a command does that has others below it and was called
// with none of them: it shows its help, and fails where a word is none of them.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s: unknown command %q; bidwell %s --help lists them", cmd.Name(), args[0], cmd.Name())
	}
	return cmd.Help()
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), version)
		},
	}
}
