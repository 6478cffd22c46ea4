package loadtest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestExperimentCheck(t *testing.T) {
	check := ExperimentCheck{Runs: 300, Looks: 100, Users: 100_000, Rate: 0.01, Lift: 0.2, Seed: 5}
	r, err := check.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Passed || r.FalsePositives.AlwaysValid > 0.05 || r.Power.AlwaysValid < 0.85 {
		t.Errorf("%+v", r)
	}
	// Published: a look at each of 100 points finds a third of what is not there.
	if r.FalsePositives.Peeking < 0.25 || r.FalsePositives.Once > 0.1 {
		t.Errorf("fixed horizon: %+v", r.FalsePositives)
	}
	if r.CoverageNull < 0.95 || r.CoverageLift < 0.95 || r.StoppedAfter <= 0 || r.StoppedAfter >= 1 {
		t.Errorf("%+v", r)
	}
	again, err := check.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Seconds, again.Seconds = 0, 0
	if *again != *r {
		t.Errorf("the same seed gives %+v and %+v", r, again)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "passed: always valid") {
		t.Errorf("%v: %s", err, text.String())
	}

	// A difference that so few users cannot show.
	check.Users, check.Runs = 1000, 50
	if r, err = check.Run(t.Context()); err != nil || r.Passed {
		t.Errorf("1000 users find +20 %% of 1 %%: %+v, %v", r, err)
	}
}

func TestExperimentCheckRefuses(t *testing.T) {
	for want, change := range map[string]func(*ExperimentCheck){
		"runs":   func(c *ExperimentCheck) { c.Runs = 0 },
		"looks":  func(c *ExperimentCheck) { c.Looks = c.Users + 1 },
		"users":  func(c *ExperimentCheck) { c.Users, c.Looks = 1, 1 },
		"rate":   func(c *ExperimentCheck) { c.Rate = 1 },
		"lift":   func(c *ExperimentCheck) { c.Lift = 100 },
		"effect": func(c *ExperimentCheck) { c.Effect = math.NaN() },
	} {
		c := ExperimentCheck{Runs: 1, Looks: 1, Users: 10, Rate: 0.1, Lift: 0.1}
		change(&c)
		if _, err := c.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want+":") {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func TestBinomial(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		n int
		p float64
	}{{1000, 0.01}, {1, 0.3}, {130, 0.5}, {63, 0.5}, {64, 0.5}, {200, 0.9}, {0, 0.2}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			const draws = 20_000
			var sum, squares float64
			for range draws {
				k := binomial(random, c.n, c.p)
				if k < 0 || k > c.n {
					t.Fatalf("%d of %d", k, c.n)
				}
				sum += float64(k)
				squares += float64(k) * float64(k)
			}
			n := float64(c.n)
			variance := n * c.p * (1 - c.p)
			mean := sum / draws
			if math.Abs(mean-n*c.p) > 5*math.Sqrt(variance/draws) {
				t.Errorf("mean %v, want %v", mean, n*c.p)
			}
			if v := squares/draws - mean*mean; math.Abs(v-variance) > 0.06*variance {
				t.Errorf("variance %v, want %v", v, variance)
			}
		})
	}
}
