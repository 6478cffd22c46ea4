package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/models"
	"bidwell/store/sql"
)

// shelf is the registry of models and the store that it keeps them in, a file
// of its own: the files of models are large, and documents should not wait while
// one is written.
type shelf struct {
	*models.Registry
	store *sql.Store
}

// open puts into service what was live before, or what a model file holds that
// is not nil.
func (s *shelf) open(ctx context.Context, cfg *config, file []byte, now func() time.Time) (err error) {
	if s.store, err = sql.Open(ctx, "sqlite:"+filepath.Join(cfg.Data, "models.db")); err != nil {
		return err
	}
	set := models.DefaultRegistry()
	set.Poll = min(max(cfg.Reload, time.Millisecond), time.Second)
	if !cfg.Simulated.IsZero() {
		set.Save = 6 * time.Hour // which may pass in seconds
	}
	if s.Registry, err = models.NewRegistry(set, s.store, now); err != nil {
		return err
	}
	return s.Open(ctx, file)
}

// openModels opens them with what --model names.
func (s *server) openModels(ctx context.Context) (err error) {
	var file []byte
	if path := s.cfg.Model; path != "" {
		if file, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("open model: %w", err)
		}
	}
	err = s.models.open(ctx, &s.cfg, file, s.clock.Now)
	if errors.Is(err, models.ErrRefused) {
		return fmt.Errorf("read model %s: %w", s.cfg.Model, err)
	}
	return err
}

func (s *shelf) close() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// oneVersion demands the number of a version, or one of the words.
func oneVersion(words ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("model %s: want one version, such as 7; bidwell model list has them", cmd.Name())
		}
		if n, err := strconv.ParseUint(args[0], 10, 32); err == nil && n > 0 {
			return nil
		}
		for _, word := range words {
			if args[0] == word {
				return nil
			}
		}
		return fmt.Errorf("model %s: %q is no version, such as 7; bidwell model list has them", cmd.Name(), args[0])
	}
}

func newModelListCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "list",
		Short: "List the versions of the model, the newest first",
		Long: `List the versions of the model, the newest first: what each does, and how good
its predictions were, in training and of late in service or as a shadow. NE is
the log loss over that of always predicting the mean, calibration the sum of the
predictions over the clicks. It asks a running bidwell.`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) (map[string][]admin.Model, error) {
		all, err := c.Models(cmd.Context())
		return map[string][]admin.Model{"models": all}, err
	}, func(to io.Writer, answer map[string][]admin.Model) error {
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "VERSION\tSTATUS\tORIGIN\tCREATED\tLEARNED FROM\tCLICKS\tNE\tCALIBRATION\tOF LATE\tCLICKS\tNE\tCALIBRATION")
		for i := range answer["models"] {
			m := &answer["models"][i]
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", m.Version, modelStatus(m), m.Origin, m.Created, figures(&m.Training), figures(m.Observed))
		}
		return table.Flush()
	})
}

// modelStatus is what a version does, in a word or two.
func modelStatus(m *admin.Model) string {
	status := m.Status
	if m.Canary > 0 {
		status += " " + strconv.FormatFloat(100*m.Canary, 'g', 4, 64) + "%"
	}
	if m.Pinned {
		status += ", pinned"
	}
	if len(m.Experiments) > 0 {
		status += ", in experiment " + strings.Join(m.Experiments, " and ")
	}
	if m.Problem != "" {
		status += ", cannot be used"
	}
	return status
}

// figures are four columns.
func figures(m *admin.ModelMetrics) string {
	if m == nil || m.Rows == 0 {
		return "\t\t\t"
	}
	return fmt.Sprintf("%.0f\t%.0f\t%.4f\t%.3f", m.Rows, m.Clicks, m.NE, m.Calibration)
}

func newModelShowCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "show VERSION",
		Short: "Show a version of the model: where it comes from, how good it is, its calibration",
		Long: `Show a version of the model: where it comes from, what it learned from, how good
its predictions were in training and of late, and by what the click rates of each
campaign are corrected. It asks a running bidwell.`,
		Example: "  bidwell model show 7",
		Args:    oneVersion(),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Model, error) {
		return c.Model(cmd.Context(), args[0])
	}, showModel)
}

func showModel(to io.Writer, m *admin.Model) error {
	fmt.Fprintf(to, "version %d: %s since %s\n", m.Version, modelStatus(m), m.Since)
	for _, line := range []struct {
		name string
		say  bool
		text string
	}{
		{"reason", m.Reason != "", m.Reason},
		{"problem", m.Problem != "", m.Problem},
		{"origin", true, m.Origin + ", " + string(m.Created)},
		{"before it", m.Before > 0, fmt.Sprintf("version %d was live", m.Before)},
		{"learned from", m.From != "", string(m.From) + " through " + string(m.Through)},
		{"file", m.Kept, fmt.Sprintf("%d bytes, sha256 %s", m.Size, m.SHA256)},
		{"file", !m.Kept, "not kept any more"},
	} {
		if line.say {
			fmt.Fprintf(to, "  %s: %s\n", line.name, line.text)
		}
	}
	fmt.Fprintln(to)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tIMPRESSIONS\tCLICKS\tLOG LOSS\tNE\tAUC\tCALIBRATION")
	for _, row := range []struct {
		name string
		m    *admin.ModelMetrics
	}{{"training", &m.Training}, {"of late", m.Observed}} {
		if row.m != nil && row.m.Rows > 0 {
			auc := ""
			if row.m.AUC > 0 {
				auc = fmt.Sprintf("%.4f", row.m.AUC)
			}
			fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.6f\t%.4f\t%s\t%.3f\n", row.name, row.m.Rows, row.m.Clicks, row.m.LogLoss, row.m.NE, auc, row.m.Calibration)
		}
	}
	if err := table.Flush(); err != nil || m.Calibration == nil {
		return err
	}
	c := m.Calibration
	fmt.Fprintf(to, "\ncalibration: curve %s, factor %.3f\n", c.Curve, c.Factor)
	table = tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CAMPAIGN\tIMPRESSIONS\tCLICKS\tFACTOR")
	for _, l := range c.Lines {
		fmt.Fprintf(table, "%s\t%d\t%d\t%.3f\n", l.Campaign, l.Rows, l.Clicks, l.Factor)
	}
	return table.Flush()
}

func newModelAddCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "add FILE",
		Short: "Add a model to a running bidwell as a shadow",
		Long: `Add a file that "bidwell model train" has written (- for standard input) to a
running bidwell. It becomes a shadow, which is compared with the live version but
prices nothing, until it is promoted. A file that is cut off, damaged, of another
version, or predicts other than where it was trained is refused.`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Model, error) {
		input, err := openInput(cmd, args[0])
		if err != nil {
			return nil, err
		}
		defer input.Close()
		added, err := c.AddModel(cmd.Context(), input)
		return added, ofFile(args[0], err)
	}, showChanged)
}

func showChanged(to io.Writer, m *admin.Model) error {
	_, err := fmt.Fprintf(to, "version %d: %s\n", m.Version, modelStatus(m))
	return err
}

func newModelPromoteCommand() *cobra.Command {
	var canary float64
	var online bool
	cmd := askCommand(&cobra.Command{
		Use:   "promote VERSION|online",
		Short: "Price bids by a version: of all users, or of a share with --canary",
		Long: `Make a version live, in every bidder within seconds, or with --canary the one
that is on trial with a share of the users. What was live is retired and can be
brought back with "bidwell model rollback". A version that was promoted stays live
whatever is learned; "promote online" makes the last one live that was learned
while bidding, and lets later ones take its place.`,
		Example: "  bidwell model promote 7 --canary 0.1\n  bidwell model promote 7\n  bidwell model promote online",
		Args:    oneVersion("online"),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Model, error) {
		if cmd.Flags().Changed("canary") && !(canary > 0 && canary < 1) {
			return nil, fmt.Errorf("model promote: --canary %v: want a share of the users, more than 0 and less than 1", canary)
		}
		online = args[0] == "online"
		return c.PromoteModel(cmd.Context(), args[0], canary)
	}, func(to io.Writer, m *admin.Model) error {
		if err := showChanged(to, m); err != nil || !online || m.Origin == models.FromLearner.String() {
			return err
		}
		_, err := fmt.Fprintf(to, "nothing that was learned while bidding can serve yet: version %d does until something can\n", m.Version)
		return err
	})
	cmd.Flags().Float64Var(&canary, "canary", 0, "share of the users, such as 0.1; 0: all of them")
	return cmd
}

func newModelRollbackCommand() *cobra.Command {
	var reason string
	cmd := askCommand(&cobra.Command{
		Use:   "rollback [VERSION]",
		Short: "Take the live version or the canary out of service",
		Long: `Take a version out of service that is live or the canary; without VERSION the
live one. In place of the live version the one comes back that was live before.
That a version which predicts badly is rolled back needs no command.`,
		Example: "  bidwell model rollback --reason 'clicks of bots'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneVersion()(cmd, args)
		},
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Model, error) {
		if len(args) > 0 {
			return c.RollBackModel(cmd.Context(), args[0], reason)
		}
		all, err := c.Models(cmd.Context())
		if err != nil {
			return nil, err
		}
		for i := range all {
			if all[i].Status == models.Live.String() {
				return c.RollBackModel(cmd.Context(), strconv.FormatUint(uint64(all[i].Version), 10), reason)
			}
		}
		return nil, errors.New("no version is live")
	}, showChanged)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at it later")
	return cmd
}

func newModelRetireCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "retire VERSION",
		Short: "Take a shadow or the canary out of the comparison",
		Long:  "Take a shadow or the canary out of the comparison. Its file is dropped after a while.",
		Args:  oneVersion(),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Model, error) {
		return c.RetireModel(cmd.Context(), args[0])
	}, showChanged)
}
