package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer exchanges, browsers and people until stopped",
		Long: `Answer exchanges and browsers on --bid.listen, and people on --admin.listen.

With --role=train it answers nobody but people on --admin.listen (/metrics,
/healthz, /readyz), and learns for a bidder that runs with --learn.on=false on
the same --data: from the log at --log.url, which is that of a NATS server, or
of the bidder when that has --log.listen.

Every setting may stand in a YAML file (--config), in the environment
(bid.max-wait is BIDWELL_BID_MAX_WAIT) or on the command line, in rising order.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ)
			if err != nil {
				return fmt.Errorf("settings:\n%w", err)
			}
			if cfg.Role == roleTrain {
				t, err := openTrainer(cmd.Context(), cfg)
				if err != nil {
					return err
				}
				return t.run(cmd.Context())
			}
			s, err := openServer(cmd.Context(), cfg, os.Getenv)
			if err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	addConfigFlags(cmd.Flags())
	return cmd
}

// adminAddress is where the admin API is taken to be when nothing is said.
func adminAddress() string {
	return cmp.Or(os.Getenv("BIDWELL_ADMIN"), "http://127.0.0.1:8081")
}
