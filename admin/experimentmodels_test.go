package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bidwell/admin"
	"bidwell/models"
)

// armWith is an experiment whose second arm predicts by a version.
func armWith(version, status string) string {
	return strings.Replace(experimentWith("0.1", fmt.Sprintf(`, "model": %q`, version)), `"name": "x"`, fmt.Sprintf(`"name": "x", "status": %q`, status), 1)
}

// shelve adds a model and does with its record as change says; a nil body is
// that of a model.
func shelve(t *testing.T, store models.Snapshots, rate float64, body []byte, change func(*models.Version)) {
	t.Helper()
	if body == nil {
		body = []byte(modelFile(t, rate))
	}
	for _, change := range []func(*models.Version){nil, change} {
		err := store.ChangeModels(t.Context(), func(all models.Versions) (models.Change, error) {
			if change == nil {
				return models.Change{Put: all.Admit(models.Version{Origin: models.FromFile}, false, models.Version{}.Created), Body: body}, nil
			}
			last := all[len(all)-1]
			change(&last)
			return models.Change{Put: models.Versions{last}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shelf is a running API whose version 2 is retired, 3 has no file any more, and
// that of 4 is damaged.
func shelf(t *testing.T) (*site, *models.Registry) {
	t.Helper()
	store := documents(t)
	s, registry := startWithStore(t, store)
	retire := func(v *models.Version) { v.Status = models.Retired }
	shelve(t, store, 0.01, nil, retire)
	shelve(t, store, 0.02, nil, func(v *models.Version) { v.Status, v.Kept = models.Retired, false })
	shelve(t, store, 0, []byte("no model"), retire)
	s.seed()
	return s, registry
}

func held(t *testing.T, registry *models.Registry) (numbers []uint32) {
	t.Helper()
	all, err := registry.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Held {
			numbers = append(numbers, v.Number)
		}
	}
	return numbers
}

func TestArmsNameModelsThatAreThere(t *testing.T) {
	s, registry := shelf(t)
	for version, want := range map[string]string{
		"9": "there is no version 9 of the model", "3": "the file of version 3 is not kept any more", "4": "version 4 cannot be used: the model is refused",
	} {
		a := s.want(422, "PUT", "/v1/experiments/x", armWith(version, "active"))
		if got := a.problems(t); !slices.Equal(got, []string{"body.arms[1].model"}) || !strings.Contains(a.Body, want) {
			t.Errorf("version %s: %q %s", version, got, a.Body)
		}
		// What is paused may wait for it.
		s.want(201, "PUT", "/v1/experiments/"+version, armWith(version, "paused"))
		s.want(422, "PUT", "/v1/experiments/"+version, armWith(version, "active"))
		s.want(204, "DELETE", "/v1/experiments/"+version, "")
	}
	if err := registry.Name(t.Context(), nil, nil); err != nil { // as the bidder does when experiments change
		t.Fatal(err)
	}
	const file = `experiments:
  x:
    name: x
    share: 0.1
    arms:
      - {name: a, weight: 1, control: true}
      - name: b
        weight: 1
        model: "VERSION"
`
	apply := func(version string, dryRun bool) error {
		_, err := s.client().Apply(t.Context(), readFile(t, strings.Replace(file, "VERSION", version, 1)), dryRun)
		return err
	}
	if err := apply("9", false); err == nil || !strings.Contains(err.Error(), "file.yaml:9: experiment x: arms[1].model: there is no version 9 of the model") {
		t.Errorf("applied with version 9: %v", err)
	}
	if err := apply("2", true); err != nil {
		t.Error(err)
	}
	if got := held(t, registry); got != nil {
		t.Errorf("a dry run holds the files of %v", got)
	}
	if err := apply("2", false); err != nil {
		t.Error(err)
	}
	s.want(201, "PUT", "/v1/experiments/y", armWith("1", "paused"))
	s.want(201, "PUT", "/v1/experiments/z", armWith("2", "archived"))
	if got := held(t, registry); !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("the files of %v are held, want those of 1 and 2", got)
	}
	if m := readModel(t, s.want(200, "GET", "/v1/models/2", "")); !slices.Equal(m.Experiments, []string{"x"}) || m.Status != "retired" {
		t.Errorf("shown as %+v", m)
	}
	if all := s.want(200, "GET", "/v1/models", "").Body; !strings.Contains(all, `"experiments":["x"]`) || !strings.Contains(all, `"experiments":["y"]`) || strings.Contains(all, `"z"`) {
		t.Errorf("listed as %s", all)
	}
	if a := s.want(200, "GET", "/v1/problems", ""); a.Body != `{"problems":[]}`+"\n" {
		t.Errorf("problems %s", a.Body)
	}
}

// As many versions as can serve, of all experiments together.
func TestArmsNameFewModels(t *testing.T) {
	s, _ := startWithModels(t)
	for i := range models.MaxNamed {
		s.want(201, "POST", "/v1/models", modelFile(t, 0.01*float64(i+1)))
	}
	var arms []string
	for i := range models.MaxNamed {
		arms = append(arms, fmt.Sprintf(`{"name": "%d", "weight": 1, "control": %t, "model": "%d"}`, i, i == 0, i+1))
	}
	s.want(201, "PUT", "/v1/experiments/all", `{"name": "x", "share": 0.1, "arms": [`+strings.Join(arms, ", ")+`]}`)
	s.want(201, "PUT", "/v1/experiments/again", armWith("3", "active"))
	a := s.want(422, "PUT", "/v1/experiments/more", armWith("9", "active"))
	if got := a.problems(t); !slices.Equal(got, []string{"body.arms[1].model"}) || !strings.Contains(a.Body, "name 8 versions of the model at most: pause or archive another (again, all)") {
		t.Errorf("%q %s", got, a.Body)
	}
	s.want(200, "PUT", "/v1/experiments/all", strings.Replace(s.want(200, "GET", "/v1/experiments/all", "").Body, `"active"`, `"paused"`, 1))
	s.want(201, "PUT", "/v1/experiments/more", armWith("9", "active"))
}

// An experiment that was stored all the same does not run with another model
// instead, and is listed.
func TestArmsWithoutTheirModelAreLeftOut(t *testing.T) {
	s, registry := shelf(t)
	put := func(id string, first int, versions ...int) {
		t.Helper()
		arms := `{"name": "a", "weight": 1, "control": true}`
		for _, v := range versions {
			arms += fmt.Sprintf(`, {"name": "%d", "weight": 1, "model": "%d"}`, v, v)
		}
		body := fmt.Sprintf(`{"name": "x", "status": "active", "share": 0.1, "first_bucket": %d, "arms": [%s]}`, first, arms)
		if _, _, err := s.docs.Put(t.Context(), "experiments", id, []byte(body), 0); err != nil {
			t.Fatal(err)
		}
	}
	put("fine", 0, 2)
	put("gone", 1000, 2, 3)
	put("damaged", 2000, 4)
	put("many", 3000, 5, 6, 7, 8, 9, 10) // with those before nine
	set, err := admin.Experiments(t.Context(), s.docs)
	if err != nil || len(set.Runs) != 3 || !slices.Equal(set.Served(), []uint32{2, 3, 4}) || len(set.Models) != 9 || !slices.Equal(set.Models[2], []string{"fine", "gone"}) {
		t.Fatalf("%+v, %v", set, err)
	}
	if err := registry.Name(t.Context(), nil, set.Served()); err != nil {
		t.Fatal(err)
	}
	unusable, err := registry.Unusable(t.Context(), set.Served())
	if err == nil {
		err = set.LeaveOut(unusable)
	}
	if err != nil || len(set.Runs) != 1 || set.Runs[0].Key != "fine" {
		t.Errorf("%+v, %v", set, err)
	}
	a := s.want(200, "GET", "/v1/problems", "")
	for _, want := range []string{
		`"id":"gone","reason":"arms[2].model version 3: its body is not kept any more"`, `"id":"damaged","reason":"arms[1].model version 4: the model is refused: `,
		`"id":"many","reason":"with it active experiments name 9 versions of the model, and at most 8 can serve"`,
	} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("the problems lack %s: %s", want, a.Body)
		}
	}
	if strings.Contains(a.Body, "fine") {
		t.Errorf("problems %s", a.Body)
	}
}
