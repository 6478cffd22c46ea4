package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"bidwell/bidder"
	"bidwell/models"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/nats"
)

// config is every setting of the server. Each has one name: bid.max-wait in
// the YAML file, BIDWELL_BID_MAX_WAIT in the environment and --bid.max-wait on
// the command line, in rising order.
type config struct {
	Role      string // of this process: roleAll or roleTrain
	Data      string
	PublicURL string
	Admin     string
	Drain     time.Duration
	Delay     time.Duration // of the drain
	Reload    time.Duration
	KeyLife   time.Duration // how long a token key seals
	CacheMB   int
	Account   rtb.Currency
	Rates     map[rtb.Currency]float64
	Model     string
	Simulated time.Time // when simulated time begins; zero for real time
	Bid       bidder.Config

	Pacing struct {
		Hold    time.Duration // how long a bid holds its cost when nothing is heard of it
		Lease   time.Duration // how long budgets are leased
		Silence time.Duration // without a notice before a line item is stopped
	}
	Learn struct {
		On        bool
		Every     time.Duration // between two models
		Bits      int           // of the table of weights
		Pairs     int           // bits of the table of vectors, zero for none
		ClickWait time.Duration // for the click of an impression
		Keep      float64       // part of the impressions without a click that is learned from
	}
	Log struct {
		URL      string        // of a NATS server or cluster; empty: in this process
		Listen   string        // where the server in this process lets a trainer in; empty: nowhere
		Replicas int           // of a cluster
		Keep     time.Duration // how long notices are kept
	}
}

// defaultRates are rough worths of one unit in US dollars, for a start; a
// company sets its own.
var defaultRates = map[string]float64{
	"EUR": 1.08, "GBP": 1.27, "JPY": 0.0067, "CHF": 1.13, "CAD": 0.73, "AUD": 0.66, "NZD": 0.60, "SEK": 0.095,
	"NOK": 0.093, "DKK": 0.145, "PLN": 0.25, "CZK": 0.043, "HUF": 0.0027, "TRY": 0.029, "BRL": 0.18, "MXN": 0.055,
	"INR": 0.012, "CNY": 0.14, "HKD": 0.128, "SGD": 0.75, "KRW": 0.00073, "TWD": 0.031, "THB": 0.028, "IDR": 0.000062,
	"RUB": 0.011, "UAH": 0.025, "ILS": 0.27, "AED": 0.272, "SAR": 0.267, "ZAR": 0.055,
}

func addConfigFlags(flags *pflag.FlagSet) {
	d := bidder.DefaultConfig()
	flags.String("config", "", "YAML file with any of the settings below")
	flags.String("role", roleAll, "what this process does: all, or train: learn for a bidder that is another process on the same data")
	flags.String("data", "./data", "folder for everything that is kept")
	flags.String("public-url", "http://localhost:8080", "address under which exchanges and browsers reach the public listener; secure impressions need https")
	flags.String("admin.listen", "127.0.0.1:8081", "address of the admin API; loopback only while there are no accounts")
	flags.Duration("drain-delay", time.Second, "how long /readyz fails after a stop signal before the public listener closes, for load balancers to notice")
	flags.Duration("drain", 10*time.Second, "how long requests under way may take after a stop signal")
	flags.Duration("reload", 500*time.Millisecond, "how often changes of campaigns and models are looked for")
	flags.Duration("token-key-life", 720*time.Hour, "how long a key seals notice tokens before a new one is made")
	flags.Int("cache-mb", 256, "memory for profiles of recent users, in MiB")
	flags.String("currency", "USD", "currency of budgets and goals")
	flags.StringToString("rates", nil, "worth of one unit of other currencies in the account's, such as EUR=1.08; replaces the built-in table")
	flags.String("model", "", "model file made by \"bidwell model train\": goes live unless it is among the models already; empty: what was live before, at first the starter model")
	learn := models.DefaultLearner()
	flags.Bool("learn.on", true, "learn from what happens and bid by it; false: bid by what a process with --role=train learns")
	flags.Duration("learn.every", time.Second, "how often bidders get what was learned since")
	flags.Int("learn.bits", learn.Bits, "size of the tables of weights: 2^bits entries, 18 to 24")
	flags.Int("learn.pairs", learn.PairBits, "size of the table of what pairs of features add: 2^pairs entries, 10 to 22; 0: none")
	flags.Duration("learn.click-wait", learn.ClickWait, "how long after an impression its click counts")
	flags.Float64("learn.keep", learn.Keep, "part of the impressions without a click that is learned from")
	flags.String("simulated-time", "", "for tests: a time such as 2026-01-05T00:00:00Z from which requests move the clock by the header X-Bidwell-Time; loopback only")
	l := nats.DefaultConfig()
	flags.Duration("pacing.hold", pacing.HoldTimeout, "how long a bid holds its cost when nothing is heard of it; longer than notices are late")
	flags.Duration("pacing.lease", pacing.LeaseRenewal, "how long budgets are leased before the lease is renewed")
	flags.Duration("pacing.silence", pacing.SilenceTimeout, "stop a line item whose bids should have won when no notice of it came for so long")
	flags.String("log.url", "", "NATS server or cluster with JetStream for the log of notices; empty: inside this process")
	flags.String("log.listen", "", "address such as 127.0.0.1:4222 where the log inside this process lets a process with --role=train read; empty: nowhere")
	flags.Int("log.replicas", l.Replicas, "servers of a cluster that keep the log")
	flags.Duration("log.keep", l.MaxAge, "how long notices are kept")
	flags.Float64("log.samples", 0.01, "part of the bids that is kept as samples, 0 to 1")
	flags.String("bid.listen", d.Listen, "address for exchanges and browsers")
	flags.Duration("bid.max-wait", d.MaxWait, "time for an answer when neither request nor profile says")
	flags.Int("bid.max-body", d.MaxBody, "largest bid request, in bytes")
	flags.Duration("bid.read-timeout", d.ReadTimeout, "time for one request to arrive")
	flags.Duration("bid.write-timeout", d.WriteTimeout, "time for one answer to leave")
	flags.Duration("bid.idle-timeout", d.IdleTimeout, "how long a connection may wait for its next request")
	flags.Duration("bid.max-delay", d.MaxDelay, "wait for a processor above which a part of the requests is shed")
	flags.Float64("bid.explore", d.Explore, "part of the clicks that trying lesser known creatives and line items may cost, 0 to 1; 0: none are tried")
	flags.Int("bid.max-conns", d.MaxConns, "connections served at a time")
}

// loadConfig reads the file, the environment and the flags.
func loadConfig(flags *pflag.FlagSet, environ func() []string) (config, error) {
	k := koanf.New(".")
	if path := configFile(flags, environ); path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return config{}, fmt.Errorf("read %s: %w", path, err)
		}
		if err := refuseUnknown(k, flags); err != nil {
			return config{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	names := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		names["BIDWELL_"+strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(f.Name))] = f.Name
	})
	fromEnv := env.Provider(".", env.Opt{
		Prefix:        "BIDWELL_",
		EnvironFunc:   environ,
		TransformFunc: func(key, value string) (string, any) { return names[key], value },
	})
	if err := k.Load(fromEnv, nil); err != nil {
		return config{}, fmt.Errorf("read environment: %w", err)
	}
	if err := k.Load(posflag.Provider(flags, ".", k), nil); err != nil {
		return config{}, fmt.Errorf("read flags: %w", err)
	}
	return readConfig(k, checkTypes(k, flags))
}

func configFile(flags *pflag.FlagSet, environ func() []string) string {
	path, _ := flags.GetString("config")
	for _, variable := range environ() {
		if value, ok := strings.CutPrefix(variable, "BIDWELL_CONFIG="); ok && path == "" {
			path = value
		}
	}
	return path
}

// checkTypes reports every value that is not of its setting's type; without
// it, "drain: 10" would be ten nanoseconds, and "drain: soon" none.
func checkTypes(k *koanf.Koanf, flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if !k.Exists(f.Name) {
			return
		}
		text := k.String(f.Name)
		switch f.Value.Type() {
		case "duration":
			if _, err := time.ParseDuration(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is no duration such as 250ms or 10s", f.Name, text))
			}
		case "float64":
			if _, err := strconv.ParseFloat(text, 64); err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is no number", f.Name, text))
			}
		case "int":
			if _, err := strconv.Atoi(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is no whole number", f.Name, text))
			}
		}
	})
	return errors.Join(errs...)
}

// refuseUnknown reports every name in the file that is no setting.
func refuseUnknown(k *koanf.Koanf, flags *pflag.FlagSet) error {
	var errs []error
	for _, key := range k.Keys() {
		if flags.Lookup(key) == nil && !strings.HasPrefix(key, "rates.") {
			errs = append(errs, fmt.Errorf("%s: no such setting", key))
		}
	}
	return errors.Join(errs...)
}

// readConfig reports every setting that is wrong, not only the first. Those in
// wrong are known to be of another type; what they are read as does not count.
func readConfig(k *koanf.Koanf, wrong error) (config, error) {
	cfg := config{
		Role:      k.String("role"),
		Data:      k.String("data"),
		PublicURL: strings.TrimRight(k.String("public-url"), "/"),
		Admin:     k.String("admin.listen"),
		Drain:     k.Duration("drain"),
		Delay:     k.Duration("drain-delay"),
		Reload:    k.Duration("reload"),
		KeyLife:   k.Duration("token-key-life"),
		CacheMB:   k.Int("cache-mb"),
		Account:   rtb.ParseCurrency(k.String("currency")),
		Rates:     map[rtb.Currency]float64{},
		Model:     k.String("model"),
		Bid: bidder.Config{
			Listen:       k.String("bid.listen"),
			MaxWait:      k.Duration("bid.max-wait"),
			MaxBody:      k.Int("bid.max-body"),
			ReadTimeout:  k.Duration("bid.read-timeout"),
			WriteTimeout: k.Duration("bid.write-timeout"),
			IdleTimeout:  k.Duration("bid.idle-timeout"),
			MaxDelay:     k.Duration("bid.max-delay"),
			MaxConns:     k.Int("bid.max-conns"),
			Explore:      k.Float64("bid.explore"),
		},
	}
	cfg.Log.URL, cfg.Log.Listen = k.String("log.url"), k.String("log.listen")
	var errs []error
	errs = append(errs, cfg.checkRole(k.String("simulated-time") != ""))
	if cfg.Data == "" {
		errs = append(errs, errors.New("data: no folder"))
	}
	if u, err := url.Parse(cfg.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("public-url: %q is no http or https address", cfg.PublicURL))
	}
	if cfg.Delay < 0 {
		errs = append(errs, errors.New("drain-delay: must not be negative"))
	}
	if cfg.Drain < 0 {
		errs = append(errs, errors.New("drain: must not be negative"))
	}
	if cfg.Reload < 10*time.Millisecond {
		errs = append(errs, errors.New("reload: must be at least 10ms"))
	}
	if cfg.KeyLife < 24*time.Hour {
		errs = append(errs, errors.New("token-key-life: must be at least 24h"))
	}
	if cfg.CacheMB < 1 {
		errs = append(errs, errors.New("cache-mb: must be at least 1"))
	}
	if cfg.Account == rtb.UnknownCurrency || cfg.Account == (rtb.Currency{}) {
		errs = append(errs, fmt.Errorf("currency: %q is no ISO 4217 code", k.String("currency")))
	}
	cfg.Pacing.Hold, cfg.Pacing.Lease, cfg.Pacing.Silence = k.Duration("pacing.hold"), k.Duration("pacing.lease"), k.Duration("pacing.silence")
	cfg.Learn.On, cfg.Learn.Every, cfg.Learn.Bits = k.Bool("learn.on"), k.Duration("learn.every"), k.Int("learn.bits")
	cfg.Learn.Pairs = k.Int("learn.pairs")
	cfg.Learn.ClickWait, cfg.Learn.Keep = k.Duration("learn.click-wait"), k.Float64("learn.keep")
	errs = append(errs, cfg.checkLearning())
	cfg.Log.Replicas, cfg.Log.Keep = k.Int("log.replicas"), k.Duration("log.keep")
	cfg.Bid.HoldTimeout, cfg.Bid.SampleShare = cfg.Pacing.Hold, k.Float64("log.samples")
	for _, d := range []struct {
		name        string
		value       time.Duration
		least, most time.Duration
	}{
		{"pacing.hold", cfg.Pacing.Hold, time.Second, 24 * time.Hour},
		{"pacing.lease", cfg.Pacing.Lease, time.Second, time.Hour},
		{"pacing.silence", cfg.Pacing.Silence, time.Minute, 7 * 24 * time.Hour},
		{"log.keep", cfg.Log.Keep, 48 * time.Hour, 10 * 365 * 24 * time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			errs = append(errs, fmt.Errorf("%s: must be from %s to %s", d.name, d.least, d.most))
		}
	}
	if cfg.Log.Replicas < 1 || cfg.Log.Replicas > 5 {
		errs = append(errs, errors.New("log.replicas: must be from 1 to 5"))
	}
	if !(cfg.Bid.SampleShare >= 0 && cfg.Bid.SampleShare <= 1) {
		errs = append(errs, errors.New("log.samples: must be from 0 to 1"))
	}
	if text := k.String("simulated-time"); text != "" {
		start, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, fmt.Errorf("simulated-time: %q is no time such as 2026-01-05T00:00:00Z", text))
		}
		if cfg.Simulated = start; !loopback(cfg.Bid.Listen) {
			errs = append(errs, errors.New("simulated-time: whoever reaches the public listener could move the clock, so bid.listen must be a loopback address"))
		}
	}
	errs = append(errs, cfg.readRates(givenRates(k)))
	if err := cfg.Bid.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, errors.New("bid."+line))
		}
	}
	// What a setting of another type was read as need not be told.
	unread := map[string]bool{}
	if wrong != nil {
		for line := range strings.SplitSeq(wrong.Error(), "\n") {
			name, _, _ := strings.Cut(line, ":")
			unread[name] = true
		}
	}
	errs = slices.DeleteFunc(errs, func(err error) bool {
		if err == nil {
			return true
		}
		name, _, _ := strings.Cut(err.Error(), ":")
		return unread[name]
	})
	return cfg, errors.Join(append(errs, wrong)...)
}

// loopback reports whether only this machine can reach an address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// givenRates are the rates as text: the file has numbers, the environment one
// line such as EUR=1.08,GBP=1.27.
func givenRates(k *koanf.Koanf) map[string]string {
	given := map[string]string{}
	switch v := k.Get("rates").(type) {
	case map[string]string:
		return v
	case map[string]any:
		for code, worth := range v {
			given[code] = fmt.Sprint(worth)
		}
	case string:
		for pair := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' }) {
			code, worth, _ := strings.Cut(strings.TrimSpace(pair), "=")
			given[code] = worth
		}
	}
	return given
}

// readRates takes the given rates, or converts the built-in ones to the
// account currency.
func (c *config) readRates(given map[string]string) error {
	var errs []error
	for code, text := range given {
		currency := rtb.ParseCurrency(code)
		worth, err := strconv.ParseFloat(text, 64)
		if err != nil || !(worth > 0) || math.IsInf(worth, 1) || currency == rtb.UnknownCurrency {
			errs = append(errs, fmt.Errorf("rates: %s=%s is no currency and its worth", code, text))
			continue
		}
		c.Rates[currency] = worth
	}
	if len(given) > 0 {
		return errors.Join(errs...)
	}
	account := 1.0 // of the account currency in dollars
	if c.Account != rtb.USD {
		if account = defaultRates[c.Account.String()]; account == 0 {
			return nil // without a table there is the account's own currency only
		}
		c.Rates[rtb.USD] = 1 / account
	}
	for code, worth := range defaultRates {
		if currency := rtb.ParseCurrency(code); currency != c.Account {
			c.Rates[currency] = worth / account
		}
	}
	return nil
}
