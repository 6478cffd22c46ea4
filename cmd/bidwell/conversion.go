package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newConversionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "conversions", Short: "Work with conversions that advertisers know of"}
	cmd.AddCommand(newConversionsImportCommand())
	return cmd
}

func newConversionsImportCommand() *cobra.Command {
	var options admin.ConversionOptions
	cmd := askCommand(&cobra.Command{
		Use:   "import FILE",
		Short: "Upload a list of conversions, whether or not an ad was clicked",
		Long: `Upload a list of conversions, whether or not an ad was clicked: experiments count
those of their users, the holdout's included. It is CSV whose first line names
the columns, or a JSON object a line; plain or gzip; - reads standard input.

  id          of the user, as bid requests have it: a device id or our cookie;
              or name the column device_id, cookie, email, ... (required)
  time        when it happened: RFC 3339 or Unix seconds, of the last 30 days (required)
  value       in the account currency, such as 12.50
  order       what the advertiser calls it: each counts once, so a list may be sent
              again; without it user, time and value stand for it
  advertiser  id of the advertiser; not needed where there is only one

Identifiers and orders are hashed before anything is stored. Lines that are
wrong are left out and named. Upload all conversions or none, those that
followed a click included: as soon as there is one, experiments count only these.`,
		Example: `  bidwell conversions import orders.csv
  bidwell conversions import --advertiser acme --kind device_id orders.csv.gz --json
  zcat orders.jsonl.gz | bidwell conversions import -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("conversions import: want one file, such as orders.csv, or - for standard input")
			}
			return nil
		},
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.ConversionsResult, error) {
		list, size, err := openList(cmd, args[0])
		if err != nil {
			return nil, err
		}
		defer list.Close()
		bar := newBar(cmd.ErrOrStderr(), size)
		result, err := c.Convert(cmd.Context(), options, io.TeeReader(list, bar))
		bar.Finish()
		return result, ofFile(args[0], err)
	}, printConverted)
	cmd.Flags().StringVar(&options.Kind, "kind", "", "what identifiers in a column id are: auto, email, sha256_email, phone, sha256_phone, device_id, cookie or partner; empty or auto: by their form")
	cmd.Flags().StringVar(&options.Advertiser, "advertiser", "", "id of the advertiser of conversions that name none")
	return cmd
}

func printConverted(to io.Writer, r *admin.ConversionsResult) error {
	fmt.Fprintf(to, "%d read, %d accepted, %d duplicate, %d invalid, %d opted out; %d of users in experiments\n",
		r.Read, r.Accepted, r.Duplicate, r.Invalid, r.OptedOut, r.InExperiments)
	printLineErrors(to, r.Errors, r.Invalid)
	return nil
}

func printLineErrors(to io.Writer, errs []admin.LineError, invalid int64) {
	for _, e := range errs {
		fmt.Fprintf(to, "  line %d: %s\n", e.Line, e.Reason)
	}
	if more := invalid - int64(len(errs)); more > 0 {
		fmt.Fprintf(to, "  and %d more\n", more)
	}
}
