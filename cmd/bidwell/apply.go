package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newApplyCommand() *cobra.Command {
	var files []string
	var address string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE [-f FILE]...",
		Short: "Create or replace campaigns and all that belongs to them from files",
		Long: `Create or replace documents from YAML or JSON files: all of them, or, when
anything is wrong with one, none. Applying a file again changes nothing.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("use -f for each file: bidwell apply -f %s", strings.Join(args, " -f "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var documents []admin.FileDocument
			for _, name := range files {
				input, closer := cmd.InOrStdin(), func() error { return nil }
				if name != "-" {
					f, err := os.Open(name)
					if err != nil {
						return err
					}
					input, closer = f, f.Close
				}
				read, err := admin.ReadFile(name, input)
				closer()
				if err != nil {
					return err
				}
				documents = append(documents, read...)
			}
			client := admin.NewClient(address)
			defer client.Close()
			result, err := client.Apply(cmd.Context(), documents, dryRun)
			if err != nil {
				return unreachable(err, address)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			printApplied(cmd, result)
			return nil
		},
	}
	cmd.Flags().StringSliceVarP(&files, "file", "f", nil, "file to apply; - for standard input; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	adminFlag(cmd, &address)
	cmd.MarkFlagRequired("file")
	return cmd
}

func printApplied(cmd *cobra.Command, result *admin.ApplyResult) {
	for _, d := range result.Documents {
		if d.Change != admin.Unchanged {
			fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s/%s\n", d.Change, d.Kind, d.ID)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d created, %d updated, %d unchanged\n", result.Created, result.Updated, result.Unchanged)
}
