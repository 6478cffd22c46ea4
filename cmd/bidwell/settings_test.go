package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"bidwell/rtb"
)

func TestVersionAndHelp(t *testing.T) {
	if out := mustRun(t, "version"); out != version+"\n" {
		t.Errorf("version %q", out)
	}
	wantText(t, mustRun(t, "--help"), "serve", "demo", "apply", "audience", "explain", "model", "version")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"serve"}, []string{"--config", "--data", "--bid.listen", "--admin.listen", "BIDWELL_BID_MAX_WAIT", "--bid.max-wait duration", "--model string"}},
		{[]string{"demo"}, []string{"--rate", "--users", "--duration", `exchanges and browsers (default "127.0.0.1:8080")`, `(default "a scratch folder")`}},
		{[]string{"apply"}, []string{"--file", "--dry-run", "--json", "--admin"}},
		{[]string{"audience", "import"}, []string{"--segment", "--mode", "--kind", "--ttl", "auto, email, sha256_email, phone, sha256_phone, device_id, cookie or partner"}},
		{[]string{"explain"}, []string{"--exchange", "--json", "--admin"}},
		{[]string{"model", "train"}, []string{"--in", "--out", "--data", "--bits", "--add"}},
		{[]string{"model", "list"}, []string{"--json", "--admin", "calibration"}},
		{[]string{"model", "show"}, []string{"--json", "--admin", "bidwell model show 7"}},
		{[]string{"model", "add"}, []string{"--json", "--admin", "shadow"}},
		{[]string{"model", "promote"}, []string{"--canary", "--json", "--admin", "online"}},
		{[]string{"model", "rollback"}, []string{"--reason", "--json", "--admin"}},
		{[]string{"model", "retire"}, []string{"--json", "--admin"}},
	} {
		wantText(t, mustRun(t, append(c.args, "--help")...), c.want...)
		_, err := command(t, append(c.args, "--colour")...)
		wantError(t, err, "--colour")
	}
	_, err := command(t, "bid")
	wantError(t, err, `unknown command "bid"`)
	for _, group := range []string{"model", "report", "experiment", "audience", "conversions"} {
		_, err = command(t, group, "nosuch")
		wantError(t, err, group+`: unknown command "nosuch"`)
		wantText(t, mustRun(t, group), "Available Commands")
	}
	_, err = command(t, "serve", "now")
	wantError(t, err, "now")
	_, err = command(t, "apply", "first.yaml", "second.yaml")
	wantError(t, err, "use -f", "bidwell apply -f first.yaml -f second.yaml")
}

func TestServeRefusesSettings(t *testing.T) {
	data := "--data=" + t.TempDir()
	for name, c := range map[string]struct {
		args  []string
		named []string
	}{
		"all at once": {[]string{"--public-url", "bid.example", "--reload", "1ms", "--cache-mb", "0", "--currency", "EURO", "--rates", "EUR=-1,XX=1,GBP=1.2x,CHF=NaN",
			"--drain", "-1s", "--bid.max-wait", "0s", "--bid.max-body", "10", "--bid.max-conns", "0", "--bid.listen", ""},
			[]string{`public-url: "bid.example"`, "reload:", "cache-mb:", `currency: "EURO"`, "rates: EUR=-1", "rates: XX=1", "rates: GBP=1.2x", "rates: CHF=NaN", "drain:",
				"bid.max-wait:", "bid.max-body:", "bid.max-conns:", "bid.listen:"}},
		"type of a flag":    {[]string{"--bid.read-timeout", "soon"}, []string{"bid.read-timeout", "soon"}},
		"unknown in a file": {[]string{"--config", write(t, "c.yaml", "bid:\n  max-wiat: 10ms\nmodle: x\n")}, []string{"c.yaml", "bid.max-wiat: no such setting", "modle: no such setting"}},
		"types in a file": {[]string{"--config", write(t, "c.yaml", "drain: 10\nreload: soon\nbid:\n  max-body: 4MiB\n  read-timeout: 5\n")},
			[]string{`drain: "10" is no duration`, `reload: "soon" is no duration`, `bid.max-body: "4MiB" is no whole number`, `bid.read-timeout: "5" is no duration`}},
		"no YAML":        {[]string{"--config", write(t, "c.yaml", "bid: [\n")}, []string{"c.yaml"}},
		"no file":        {[]string{"--config", "/nonexistent.yaml"}, []string{"/nonexistent.yaml"}},
		"admin for all":  {[]string{"--admin.listen", "0.0.0.0:0"}, []string{`"0.0.0.0:0"`, "not a loopback address"}},
		"admin any":      {[]string{"--admin.listen", ":8081"}, []string{"not a loopback address"}},
		"admin no port":  {[]string{"--admin.listen", "127.0.0.1"}, []string{"127.0.0.1", "port"}},
		"no model":       {[]string{"--model", "/nonexistent.model"}, []string{"/nonexistent.model"}},
		"no such folder": {[]string{"--data", write(t, "file", "") + "/data"}, []string{"make data folder", "not a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := command(t, append([]string{"serve", data, "--admin.listen", freeAddress(t), "--bid.listen", freeAddress(t)}, c.args...)...)
			wantError(t, err, c.named...)
		})
	}
}

// One line for the header and one for each setting, however often it is wrong.
func TestServeRefusesEnvironment(t *testing.T) {
	t.Setenv("BIDWELL_BID_MAX_WAIT", "foo")
	t.Setenv("BIDWELL_CACHE_MB", "many")
	_, err := command(t, "serve", "--data", t.TempDir(), "--reload", "1ms")
	want := "settings:\nreload: must be at least 10ms\nbid.max-wait: \"foo\" is no duration such as 250ms or 10s\ncache-mb: \"many\" is no whole number"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSettingsPrecedence(t *testing.T) {
	file := write(t, "c.yaml", "currency: EUR\ncache-mb: 7\nreload: 70ms\nrates: {USD: 0.9, GBP: 1.17}\nbid:\n  max-wait: 70ms\n  max-conns: 77\n  max-body: 7777\n")
	load := func(environ []string, args ...string) config {
		t.Helper()
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		addConfigFlags(flags)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		cfg, err := loadConfig(flags, func() []string { return environ })
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	environ := []string{"BIDWELL_BID_MAX_CONNS=88", "BIDWELL_BID_MAX_BODY=8888", "BIDWELL_CACHE_MB=8", "BIDWELL_KEYS=x", "HOME=/"}
	cfg := load(environ, "--config", file, "--cache-mb", "9", "--bid.max-body", "9999")
	if cfg.Bid.MaxWait != 70*time.Millisecond || cfg.Reload != 70*time.Millisecond || cfg.Account != rtb.ParseCurrency("EUR") {
		t.Errorf("the file does not count: %+v", cfg)
	}
	if cfg.Bid.MaxConns != 88 || cfg.CacheMB != 9 || cfg.Bid.MaxBody != 9999 {
		t.Errorf("max-conns %d, cache-mb %d, max-body %d, want 88 of the environment, 9 and 9999 of flags", cfg.Bid.MaxConns, cfg.CacheMB, cfg.Bid.MaxBody)
	}
	if len(cfg.Rates) != 2 || cfg.Rates[rtb.USD] != 0.9 {
		t.Errorf("rates %v", cfg.Rates)
	}
	d := load(nil)
	if d.Admin != "127.0.0.1:8081" || d.Bid.Listen != ":8080" || d.Data != "./data" || d.Account != rtb.USD || d.Drain != 10*time.Second || d.Reload > 500*time.Millisecond {
		t.Errorf("defaults %+v", d)
	}
	if got := load([]string{"BIDWELL_CONFIG=" + file}); got.CacheMB != 7 {
		t.Errorf("BIDWELL_CONFIG does not count: cache-mb %d", got.CacheMB)
	}
	if got := load([]string{"BIDWELL_RATES=EUR=2, GBP=3"}); len(got.Rates) != 2 || got.Rates[rtb.ParseCurrency("GBP")] != 3 {
		t.Errorf("rates of the environment: %v", got.Rates)
	}
	if got := load(nil, "--rates", "EUR=2,GBP=3"); len(got.Rates) != 2 || got.Rates[rtb.ParseCurrency("GBP")] != 3 {
		t.Errorf("rates of a flag: %v", got.Rates)
	}
	if eur := load(nil, "--currency", "EUR").Rates; eur[rtb.USD] < 0.5 || eur[rtb.USD] > 1.5 || eur[rtb.ParseCurrency("EUR")] != 0 {
		t.Errorf("built-in rates in EUR: %v", eur)
	}
}

// The environment and the file work on the program as a whole, too.
func TestServeReadsFileAndEnvironment(t *testing.T) {
	t.Setenv("BIDWELL_BID_MAX_BODY", "2048")
	p := serve(t, "--config", write(t, "c.yaml", "currency: EUR\nrates: {USD: 0.5}\nbid: {max-body: 4096}\n"))
	p.apply(shop)
	p.await(request, true)
	if b := p.mustBid(request); b.Price != 20 {
		t.Errorf("price %v of 10 EUR in USD, want 20", b.Price)
	}
	if status, _ := p.post(request + strings.Repeat(" ", 2048)); status != 413 {
		t.Errorf("status %d of a body above the limit", status)
	}
}

func TestServePortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := taken.Addr().String()
	for flag, args := range map[string][]string{
		"--bid.listen":   {"--bid.listen", used, "--admin.listen", freeAddress(t)},
		"--admin.listen": {"--bid.listen", freeAddress(t), "--admin.listen", used},
	} {
		_, err := command(t, append([]string{"serve", "--data", t.TempDir()}, args...)...)
		wantError(t, err, flag, used, "address already in use")
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("error of several lines: %v", err)
		}
	}
}

// Two processes on one data folder would ruin it.
func TestServeFolderInUse(t *testing.T) {
	p := serve(t)
	_, err := command(t, "serve", "--data", p.data, "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
	wantError(t, err, "the data folder "+p.data+" is in use by another bidwell")
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %v", err)
	}
}

func TestServeKeys(t *testing.T) {
	for name, c := range map[string]struct{ keys, named string }{
		"missing": {filepath.Join(t.TempDir(), "none"), "none: no such file"},
		"short":   {write(t, "keys", "5a5a\n"), "128 hex digits"},
		"no hex":  {write(t, "keys", strings.Repeat("xy", 64)), "128 hex digits"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			t.Setenv("BIDWELL_KEYS", c.keys)
			_, err := command(t, "serve", "--data", data, "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
			wantError(t, err, "read keys", c.named)
			if _, err := os.Stat(filepath.Join(data, "keys")); err == nil {
				t.Error("keys were made although others were asked for")
			}
			if text := strings.Repeat("xy", 8); err != nil && strings.Contains(err.Error(), text) {
				t.Errorf("the error repeats the keys: %v", err)
			}
		})
	}
}
