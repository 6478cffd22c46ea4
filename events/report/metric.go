package report

import (
	"fmt"
	"strings"
)

// Metric is what an experiment compares. The unit is the user in all.
type Metric string

// The metrics.
const (
	CTR         Metric = "ctr"         // clicks by impressions
	Clicks      Metric = "clicks"      // of a user
	Conversions Metric = "conversions" // of a user
	Value       Metric = "value"       // of the conversions of a user, in the account currency
	Spend       Metric = "spend"       // on a user, in the account currency, fees included
)

// Metrics are all there are.
var Metrics = []Metric{CTR, Clicks, Conversions, Value, Spend}

// ParseMetric finds a metric by its name.
func ParseMetric(name string) (Metric, error) {
	for _, m := range Metrics {
		if name == string(m) {
			return m, nil
		}
	}
	list := make([]string, len(Metrics))
	for i, m := range Metrics {
		list[i] = string(m)
	}
	return "", fmt.Errorf("there is no metric %q: want one of %s", name, strings.Join(list, ", "))
}
