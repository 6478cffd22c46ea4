package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newAudienceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audience", Short: "Work with audiences"}
	cmd.AddCommand(newAudienceImportCommand())
	return cmd
}

func newAudienceImportCommand() *cobra.Command {
	var options admin.ImportOptions
	cmd := askCommand(&cobra.Command{
		Use:   "import --segment ID FILE",
		Short: "Load a list of users into a segment",
		Long: `Load a list of users into a segment: CSV with a heading (columns email, phone,
device_id, cookie, sha256_email, sha256_phone), or one identifier a line; plain
or gzip; - reads standard input. Identifiers are hashed before anything is
stored. The list is applied whole or not at all.`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.ImportResult, error) {
		list, size, err := openList(cmd, args[0])
		if err != nil {
			return nil, err
		}
		defer list.Close()
		bar := newBar(cmd.ErrOrStderr(), size)
		result, err := c.Import(cmd.Context(), options, io.TeeReader(list, bar))
		bar.Finish()
		return result, ofFile(args[0], err)
	}, func(to io.Writer, r *admin.ImportResult) error {
		printImported(to, options.Segment, r)
		return nil
	})
	cmd.Flags().StringVar(&options.Segment, "segment", "", "id of the segment")
	cmd.Flags().StringVar(&options.Mode, "mode", "add", "add to the members, replace them, or remove the listed")
	cmd.Flags().StringVar(&options.Kind, "kind", "", "what the identifiers are: auto, email, sha256_email, phone, sha256_phone, device_id, cookie or partner; empty or auto: by their form")
	cmd.Flags().DurationVar(&options.TTL, "ttl", 0, "how long the membership lasts; 0: that of the segment")
	cmd.MarkFlagRequired("segment")
	return cmd
}

func openList(cmd *cobra.Command, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// newBar shows how much of a list has been sent. It appears only when the
// upload takes longer than a second or so, and not where nobody looks.
func newBar(to io.Writer, size int64) *progressbar.ProgressBar {
	f, isFile := to.(*os.File)
	info, err := os.Stdin.Stat()
	if isFile {
		info, err = f.Stat()
	}
	visible := isFile && err == nil && info.Mode()&os.ModeCharDevice != 0
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(to),
		progressbar.OptionSetDescription("uploading"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionSetVisibility(visible),
		progressbar.OptionClearOnFinish(),
	)
}

func printImported(to io.Writer, segment string, r *admin.ImportResult) {
	fmt.Fprintf(to, "%s: %d read, %d changed, %d duplicate, %d invalid, %d opted out, %d known before\n",
		segment, r.Read, r.Added, r.Duplicate, r.Invalid, r.OptedOut, r.Matched)
	printLineErrors(to, r.Errors, r.Invalid)
}
