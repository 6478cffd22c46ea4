package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/bidder/openrtb"
	"bidwell/models"
	"bidwell/privacy"
	"bidwell/rtb"
	"bidwell/store/sql"
)

func newModelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Train models, and decide which one bids are priced by"}
	cmd.AddCommand(
		newModelTrainCommand(), newModelEvaluateCommand(), newModelListCommand(), newModelShowCommand(), newModelAddCommand(),
		newModelPromoteCommand(), newModelRollbackCommand(), newModelRetireCommand(),
	)
	return cmd
}

func newModelTrainCommand() *cobra.Command {
	var in, out, data, address string
	var add, asJSON bool
	cfg := models.DefaultTrainConfig()
	own := models.DefaultFTRL()
	cmd := &cobra.Command{
		Use:   "train --in LOG --out FILE",
		Short: "Learn a click model from a log of impressions",
		Long: `Learn a click model from a log of impressions and write it to a file that
"bidwell serve --model FILE" loads. With --add a running bidwell gets it at once,
as a shadow; "bidwell model promote" puts it into service.

The log has one JSON object a line, oldest first, as "loadtest exchange --log"
writes it: time, imp, line_item, creative, media, w, h, click (0 or 1),
segments, and the bid request. With --data the ids are those of that folder's
line items, creatives and segments; without, the model knows only the context
of an impression and fits any advertiser, as the built-in starter model does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"alpha", "beta", "l1", "l2"} {
				if cmd.Flags().Changed(name) {
					cfg.Settings = []models.FTRLConfig{own}
				}
			}
			result, file, err := trainModel(cmd, in, out, data, cfg)
			if err != nil {
				return err
			}
			if add {
				client, err := connect(address)
				if err != nil {
					return err
				}
				defer client.Close()
				added, err := client.AddModel(cmd.Context(), bytes.NewReader(file))
				if err != nil {
					return unreachable(err, address)
				}
				result.Version = added.Version
			}
			return result.print(cmd, out, asJSON)
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "log of impressions; - for standard input")
	cmd.Flags().StringVar(&out, "out", "", "file to write the model to")
	cmd.Flags().StringVar(&data, "data", "", "data folder whose documents the log speaks of")
	cmd.Flags().IntVar(&cfg.Bits, "bits", cfg.Bits, "size of the weight table: 2^bits entries, 18 to 24")
	cmd.Flags().IntVar(&cfg.PairBits, "pairs", cfg.PairBits, "size of the table of what pairs of features add, which is kept where it predicts better: 2^pairs entries, 10 to 22; 0: none")
	cmd.Flags().Float64Var(&own.Alpha, "alpha", own.Alpha, "learning rate; without any of these four, several settings are tried and the best is kept")
	cmd.Flags().Float64Var(&own.Beta, "beta", own.Beta, "smooths the learning rate of rare features")
	cmd.Flags().Float64Var(&own.L1, "l1", own.L1, "keeps rare features out of the model")
	cmd.Flags().Float64Var(&own.L2, "l2", own.L2, "keeps weights small")
	cmd.Flags().BoolVar(&add, "add", false, "add the model to a running bidwell as a shadow")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	adminFlag(cmd, &address)
	cmd.MarkFlagRequired("in")
	cmd.MarkFlagRequired("out")
	return cmd
}

// trained is what training says of its model.
type trained struct {
	Rows        uint64  `json:"rows"`
	Clicks      uint64  `json:"clicks"`
	LogLoss     float64 `json:"log_loss"`
	NE          float64 `json:"ne"`
	AUC         float64 `json:"auc"`
	Calibration float64 `json:"calibration"`
	Pairs       bool    `json:"pairs"` // what pairs of features add is in it
	Bytes       int     `json:"bytes"`
	Version     uint32  `json:"version,omitempty"` // in the running bidwell that it was added to
}

// trainModel writes the model to a file, which it also returns.
func trainModel(cmd *cobra.Command, in, out, data string, cfg models.TrainConfig) (result trained, file []byte, err error) {
	catalog := &logCatalog{}
	if data != "" {
		if catalog, err = openLogCatalog(cmd.Context(), data); err != nil {
			return trained{}, nil, err
		}
	}
	input, err := openInput(cmd, in)
	if err != nil {
		return trained{}, nil, err
	}
	defer input.Close()
	model, metrics, err := models.Train(readLog(in, input, catalog, cmd.ErrOrStderr()), cfg)
	if err != nil {
		return trained{}, nil, err
	}
	if data != "" && 2*catalog.known < catalog.looked {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: only %.1f%% of the log's impressions are of creatives in %s; of the others only the kind of medium is learned\n",
			100*float64(catalog.known)/float64(catalog.looked), data)
	}
	var written bytes.Buffer
	if err := model.Write(&written); err != nil {
		return trained{}, nil, err
	}
	if err := os.WriteFile(out, written.Bytes(), 0o644); err != nil {
		return trained{}, nil, err
	}
	return trained{
		Rows: metrics.Rows, Clicks: metrics.Clicks, LogLoss: metrics.LogLoss, NE: metrics.NE(), AUC: metrics.AUC, Calibration: metrics.Calibration, Pairs: model.Pairs != nil, Bytes: written.Len(),
	}, written.Bytes(), nil
}

func (r *trained) print(cmd *cobra.Command, out string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d impressions, %d clicks; predicted before learning: AUC %.4f, NE %.4f, calibration %.3f; %d bytes\n",
		out, r.Rows, r.Clicks, r.AUC, r.NE, r.Calibration, r.Bytes)
	if r.Pairs {
		fmt.Fprintln(cmd.OutOrStdout(), "pairs of features predicted better than each by itself, so they are in it")
	}
	if r.Version > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "added as version %d, a shadow; bidwell model promote %d makes it live\n", r.Version, r.Version)
	}
	return nil
}

// logCatalog finds what the keys in a log stand for. The zero value knows
// nothing: then every line item and creative is the unknown one.
type logCatalog struct {
	items    map[string]*rtb.LineItem
	creative map[string]*rtb.Creative
	segments map[string]rtb.SegmentID

	looked, known int // impressions, and those of a creative that is known
}

func openLogCatalog(ctx context.Context, data string) (*logCatalog, error) {
	path := filepath.Join(data, "documents.db")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	docs, err := sql.Open(ctx, "sqlite:"+path)
	if err != nil {
		return nil, err
	}
	defer docs.Close()
	items, _, err := admin.NewCompiler(docs, nil, nil).LineItems(ctx, 0)
	if err != nil {
		return nil, err
	}
	c := &logCatalog{items: map[string]*rtb.LineItem{}, creative: map[string]*rtb.Creative{}, segments: map[string]rtb.SegmentID{}}
	for i := range items {
		c.items[items[i].Key] = &items[i]
		for j := range items[i].Creatives {
			c.creative[items[i].Creatives[j].Key] = &items[i].Creatives[j]
		}
	}
	err = docs.List(ctx, "segments", "", 0, func(id string, number uint32, _ uint64, _ []byte) error {
		c.segments[id] = rtb.SegmentID(number)
		return nil
	})
	return c, err
}

// impression is one line of the log.
type impression struct {
	Time     time.Time       `json:"time"`
	Imp      string          `json:"imp"`
	LineItem string          `json:"line_item"`
	Creative string          `json:"creative"`
	Media    string          `json:"media"`
	W        uint16          `json:"w"`
	H        uint16          `json:"h"`
	Click    uint8           `json:"click"`
	Segments []string        `json:"segments"`
	Request  json.RawMessage `json:"request"`
}

const maxLogLine = 1 << 20

// readLog yields the examples of a log with a name. It goes through the decoder, the
// permissions and the feature extraction that bids go through.
func readLog(name string, r io.Reader, catalog *logCatalog, progress io.Writer) iter.Seq2[models.Example, error] {
	return func(yield func(models.Example, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 64<<10), maxLogLine)
		var x logExtractor
		report := time.Now().Add(time.Second)
		n, empty := 0, true
		for lines.Scan() {
			n++
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			empty = false
			example, err := x.extract(lines.Bytes(), catalog)
			if err != nil {
				yield(models.Example{}, fmt.Errorf("%s: line %d: %w", name, n, err))
				return
			}
			if !yield(example, nil) {
				return
			}
			if n%1024 == 0 && time.Now().After(report) {
				fmt.Fprintf(progress, "%d impressions\n", n)
				report = report.Add(time.Second)
			}
		}
		if err := lines.Err(); err == nil && empty {
			yield(models.Example{}, fmt.Errorf("%s: empty", name))
		} else if err != nil {
			yield(models.Example{}, fmt.Errorf("%s: line %d: %w", name, n+1, err))
		}
	}
}

// logExtractor turns lines into examples; its memory is reused.
type logExtractor struct {
	line    impression
	request rtb.Request
	user    rtb.Profile
	hashes  []uint32
}

func (x *logExtractor) extract(line []byte, catalog *logCatalog) (models.Example, error) {
	x.line = impression{Segments: x.line.Segments[:0]}
	if err := json.Unmarshal(line, &x.line); err != nil {
		return models.Example{}, err
	}
	if x.line.Time.IsZero() || x.line.Click > 1 {
		return models.Example{}, errors.New("time is missing, or click is not 0 or 1")
	}
	if err := openrtb.Decode(x.line.Request, &x.request); err != nil {
		return models.Example{}, fmt.Errorf("request: %w", err)
	}
	privacy.Redact(&x.request, privacy.Decide(&x.request.Signals))
	imp := findImp(&x.request, x.line.Imp)
	if imp == nil {
		return models.Example{}, fmt.Errorf("imp %q is not in the request", x.line.Imp)
	}
	size := rtb.Size{W: x.line.W, H: x.line.H}
	item, creative := catalog.find(&x.line)
	x.user.Reset()
	for _, name := range x.line.Segments {
		if id, ok := catalog.segments[name]; ok {
			x.user.Segments = append(x.user.Segments, id)
			x.user.Known = true
		}
	}
	x.hashes = models.Extract(x.hashes[:0], &x.request, imp, &x.user, item, creative, size, x.line.Time)
	return models.Example{Hashes: x.hashes, Click: x.line.Click == 1, Time: x.line.Time}, nil
}

// find is what the line's keys stand for. What is unknown keeps only the kind
// of medium.
func (c *logCatalog) find(line *impression) (*rtb.LineItem, *rtb.Creative) {
	item, creative := c.items[line.LineItem], c.creative[line.Creative]
	c.looked++
	if creative != nil {
		c.known++
	}
	if item == nil {
		item = &rtb.LineItem{}
	}
	if creative == nil {
		creative = &rtb.Creative{}
		for m := rtb.Banner; m <= rtb.Native; m++ {
			if m.String() == line.Media {
				creative.Media = m
			}
		}
	}
	return item, creative
}

func findImp(req *rtb.Request, id string) *rtb.Imp {
	for i := range req.Imps {
		if string(req.Imps[i].ID.Text()) == id {
			return &req.Imps[i]
		}
	}
	return nil
}
