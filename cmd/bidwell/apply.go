package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newApplyCommand() *cobra.Command {
	var files []string
	var dryRun bool
	cmd := askCommand(&cobra.Command{
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
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) (*admin.ApplyResult, error) {
		var documents []admin.FileDocument
		for _, name := range files {
			input, err := openInput(cmd, name)
			if err != nil {
				return nil, err
			}
			read, err := admin.ReadFile(name, input)
			input.Close()
			if err != nil {
				return nil, err
			}
			documents = append(documents, read...)
		}
		return c.Apply(cmd.Context(), documents, dryRun)
	}, printApplied)
	cmd.Flags().StringSliceVarP(&files, "file", "f", nil, "file to apply; - for standard input; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	cmd.MarkFlagRequired("file")
	return cmd
}

func printApplied(to io.Writer, result *admin.ApplyResult) error {
	for _, d := range result.Documents {
		if d.Change != admin.Unchanged {
			fmt.Fprintf(to, "%-9s %s/%s\n", d.Change, d.Kind, d.ID)
		}
	}
	_, err := fmt.Fprintf(to, "%d created, %d updated, %d unchanged\n", result.Created, result.Updated, result.Unchanged)
	return err
}
