package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/rtb"
)

func newExplainCommand() *cobra.Command {
	var exchange, address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "Say for every active line item why it does or does not bid on a request",
		Long: `Say for every active line item why it does or does not bid on the OpenRTB request in
FILE (- for standard input). It asks a running bidwell, which decides as it
would for the exchange and holds no money for it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			input := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				input = f
			}
			request, err := io.ReadAll(io.LimitReader(input, 16<<20))
			if err != nil {
				return err
			}
			client := admin.NewClient(address)
			defer client.Close()
			e, err := client.Explain(cmd.Context(), exchange, request)
			if err != nil {
				return unreachable(err, address)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
			}
			return printExplanation(cmd.OutOrStdout(), e)
		},
	}
	cmd.Flags().StringVar(&exchange, "exchange", "generic", "exchange that the request came from")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	adminFlag(cmd, &address)
	return cmd
}

func printExplanation(to io.Writer, e *rtb.Explanation) error {
	fmt.Fprintf(to, "%s: %s\nuser: %s\n", e.Exchange, e.Outcome, e.User)
	if len(e.Experiments) > 0 {
		fmt.Fprintf(to, "experiments that change its bids: %s\n", strings.Join(e.Experiments, "; "))
	}
	for _, imp := range e.Imps {
		fmt.Fprintf(to, "\nimp %q: %s, floor %s CPM\n", imp.ID, imp.Outcome, imp.FloorCPM)
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "RANK\tLINE ITEM\tCREATIVE\tSTAGE\tREASON\tPCTR\tVALUE CPM\tPRICE CPM\tDEAL")
		for _, l := range imp.LineItems {
			rank, ctr := "", ""
			if l.Rank > 0 {
				rank = fmt.Sprint(l.Rank)
			}
			if l.CTR > 0 {
				ctr = fmt.Sprintf("%.3f%%", 100*l.CTR)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				rank, l.LineItem, l.Creative, l.Stage, l.Reason, ctr, l.ValueCPM, l.PriceCPM, l.Deal)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, l := range imp.LineItems {
			if l.Choice != "" && l.Rank > 0 {
				fmt.Fprintf(to, "%s shows %s of %d creatives: %s\n", l.LineItem, l.Creative, len(l.Creatives), l.Choice)
			}
		}
	}
	return nil
}
