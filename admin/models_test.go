package admin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/models"
)

// modelFile is the file of a model that predicts rate for everything.
func modelFile(t testing.TB, rate float64) string {
	t.Helper()
	m, err := models.Prior(models.MinBits, rate)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := m.Write(&file); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// startWithModels is a running API with a registry that begins with the starter
// model.
func startWithModels(t testing.TB) (*site, *models.Registry) {
	t.Helper()
	return startWithStore(t, documents(t))
}

func startWithStore(t testing.TB, store models.Snapshots) (*site, *models.Registry) {
	t.Helper()
	registry, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC) })
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Open(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return start(t, func(p *admin.Parts) { p.Models = registry }), registry
}

func readModel(t testing.TB, a answer) (m admin.Model) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), &m); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return m
}

func (s *site) wantModels(want string) {
	s.t.Helper()
	var page admin.Page[admin.Model]
	if err := json.Unmarshal([]byte(s.want(200, "GET", "/v1/models", "").Body), &page); err != nil {
		s.t.Fatal(err)
	}
	var have []string
	for _, m := range page.Items {
		text := fmt.Sprint(m.Version, " ", m.Status)
		if m.Serving {
			text += " serving"
		}
		have = append(have, text)
	}
	if got := strings.Join(have, ", "); got != want {
		s.t.Errorf("the models are %s, want %s", got, want)
	}
}

func TestModelsLive(t *testing.T) {
	s, registry := startWithModels(t)
	s.wantModels("1 live serving")
	file := modelFile(t, 0.01)
	added := s.want(201, "POST", "/v1/models", file, "Content-Type", "application/octet-stream")
	hash := sha256.Sum256([]byte(file))
	m := readModel(t, added)
	if m.Version != 2 || m.Status != "shadow" || m.Origin != "file" || m.Size != int64(len(file)) || m.SHA256 != hex.EncodeToString(hash[:]) || !m.Kept ||
		m.Created != "2031-05-06T07:08:09Z" || added.Header.Get("Location") != "/v1/models/2" || added.etag() == "" {
		t.Errorf("added as %+v at %q", m, added.Header.Get("Location"))
	}
	again := s.want(200, "POST", "/v1/models", file)
	if again.Body != added.Body || again.etag() != added.etag() {
		t.Errorf("added again it is %s", again.Body)
	}
	body := s.want(200, "GET", "/v1/models/2/body", "")
	if body.Body != file || body.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("the file comes back as %d bytes of %s", len(body.Body), body.Header.Get("Content-Type"))
	}

	trial := s.want(200, "POST", "/v1/models/2/promote", `{"canary": 0.1}`, "If-Match", added.etag())
	if m := readModel(t, trial); m.Status != "canary" || m.Canary != 0.1 || !m.Serving || trial.etag() == added.etag() {
		t.Errorf("on trial it is %+v", m)
	}
	s.wantModels("2 canary serving, 1 live serving")
	s.want(412, "POST", "/v1/models/2/promote", `{}`, "If-Match", added.etag()).problems(t)
	s.want(412, "POST", "/v1/models/2/retire", ``, "If-Match", added.etag()).problems(t)
	s.want(412, "POST", "/v1/models/2/rollback", ``, "If-Match", added.etag()).problems(t)
	live := readModel(t, s.want(200, "POST", "/v1/models/2/promote", `{}`, "If-Match", trial.etag()))
	if live.Status != "live" || !live.Pinned || live.Before != 1 || live.Canary != 0 {
		t.Errorf("promoted it is %+v", live)
	}
	s.wantModels("2 live serving, 1 retired")

	for i := range 2000 {
		registry.Observe(&models.Lesson{Model: 2, CTR: 0.01, Clicked: i%50 == 0})
	}
	seen := readModel(t, s.want(200, "GET", "/v1/models/2", ""))
	if o := seen.Observed; o == nil || o.Rows < 1900 || o.Calibration < 0.45 || o.Calibration > 0.55 || o.NE <= 0 {
		t.Errorf("observed: %+v", o)
	}
	if seen.Training.Rows != 0 || seen.Calibration != nil {
		t.Errorf("a model that has learned nothing shows %+v and %+v", seen.Training, seen.Calibration)
	}
	back := readModel(t, s.want(200, "POST", "/v1/models/2/rollback", `{"reason": "too low"}`))
	if back.Status != "rolled-back" || back.Reason != "too low" {
		t.Errorf("rolled back it is %+v", back)
	}
	s.wantModels("2 rolled-back, 1 live serving")
	if m := readModel(t, s.want(200, "POST", "/v1/models/2/promote", "")); m.Status != "live" || m.Reason != "" {
		t.Errorf("promoted without a body it is %+v", m)
	}
	if m := readModel(t, s.want(200, "POST", "/v1/models/online/promote", "")); m.Version != 2 || m.Pinned {
		t.Errorf("online, while nothing has been learned: %+v, want the live one to give way", m)
	}
}

func TestModelsRefused(t *testing.T) {
	s, _ := startWithModels(t)
	file := modelFile(t, 0.01)
	for name, body := range map[string]string{"cut off": file[:len(file)-1], "empty": "", "text": "weights: 1", "damaged": strings.Replace(file, "\x00", "\x01", 1)} {
		a := s.want(422, "POST", "/v1/models", body)
		a.problems(t)
		if !strings.Contains(a.Body, "the model is refused: read model: ") {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	s.wantModels("1 live serving")
	s.want(201, "POST", "/v1/models", file)
	for _, c := range []struct {
		status             int
		method, path, body string
		at                 []string
	}{
		{404, "GET", "/v1/models/9", "", nil},
		{422, "GET", "/v1/models/x", "", []string{"path.version"}},
		{404, "GET", "/v1/models/4294967296", "", nil},
		{422, "GET", "/v1/models?limit=0", "", []string{"query.limit"}},
		{422, "GET", "/v1/models?cursor=x", "", []string{"query.cursor"}},
		{404, "GET", "/v1/models/9/body", "", nil},
		{404, "GET", "/v1/models/x/body", "", nil},
		{404, "POST", "/v1/models/9/promote", "{}", nil},
		{422, "POST", "/v1/models/2/promote", `{"canary": 1}`, []string{"body.canary"}},
		{422, "POST", "/v1/models/2/promote", `{"canary": -0.5}`, []string{"body.canary"}},
		{422, "POST", "/v1/models/2/promote", `{"share": 0.5}`, []string{"body.share"}},
		{422, "POST", "/v1/models/online/promote", `{"canary": 0.5}`, []string{"body.canary"}},
		{409, "POST", "/v1/models/1/promote", `{"canary": 0.5}`, nil},
		{409, "POST", "/v1/models/1/rollback", "", nil},
		{409, "POST", "/v1/models/2/rollback", "", nil},
		{409, "POST", "/v1/models/1/retire", "", nil},
		{404, "POST", "/v1/models/9/retire", "", nil},
		{415, "POST", "/v1/models/2/promote", "canary", nil},
	} {
		var headers []string
		if c.status == 415 {
			headers = []string{"Content-Type", "text/plain"}
		}
		if at := s.want(c.status, c.method, c.path, c.body, headers...).problems(t); !slices.Equal(at, c.at) {
			t.Errorf("%s %s %s: %q is wrong, want %q", c.method, c.path, c.body, at, c.at)
		}
	}
	s.wantModels("2 shadow, 1 live serving")

	none := start(t, nil)
	for _, route := range []string{"GET /v1/models", "GET /v1/models/1", "POST /v1/models", "GET /v1/models/1/body", "POST /v1/models/1/promote", "POST /v1/models/1/retire"} {
		method, path, _ := strings.Cut(route, " ")
		none.want(501, method, path, "").problems(t)
	}

	// The limit holds for what comes, whatever it is.
	cfg := admin.DefaultConfig()
	cfg.MaxModel = 100
	_, registry := startWithModels(t)
	small, err := admin.New(cfg, admin.Parts{Documents: documents(t), Models: registry})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(small.Handler())
	defer front.Close()
	(&site{t: t, url: front.URL}).want(http.StatusRequestEntityTooLarge, "POST", "/v1/models", file).problems(t)
}

func TestModelsPage(t *testing.T) {
	s, _ := startWithModels(t)
	for i := range 4 {
		s.want(201, "POST", "/v1/models", modelFile(t, 0.01+float64(i)*0.01))
	}
	var got []uint32
	for path := "/v1/models?limit=2"; path != ""; {
		var page admin.Page[admin.Model]
		if err := json.Unmarshal([]byte(s.want(200, "GET", path, "").Body), &page); err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Items {
			got = append(got, m.Version)
		}
		if path = ""; page.Next != "" {
			path = "/v1/models?limit=2&cursor=" + page.Next
		}
	}
	if want := []uint32{5, 4, 3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("the pages have %v, want %v", got, want)
	}
}

// The corrections by campaign are shown under the ids of campaigns.
func TestModelCalibration(t *testing.T) {
	s, _ := startWithModels(t)
	s.seed()
	calibrator, err := models.NewCalibrator(models.DefaultCalibration())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		calibrator.Learn(uint32(1+6*(i%2)), 0.01, i%50 < 2)
	}
	clicks, err := models.Prior(models.MinBits, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := (&models.Model{Clicks: clicks, ClickRatio: calibrator.Table()}).Write(&file); err != nil {
		t.Fatal(err)
	}
	m := readModel(t, s.want(201, "POST", "/v1/models", file.String()))
	if m = readModel(t, s.want(200, "GET", fmt.Sprint("/v1/models/", m.Version), "")); m.Calibration == nil {
		t.Fatal("no calibration")
	}
	c := m.Calibration
	if len(c.Lines) != 2 || c.Lines[0].Campaign != "spring" || c.Lines[1].Campaign != "#7" || c.Lines[0].Rows != 10_000 || c.Lines[0].Clicks != 400 {
		t.Errorf("lines %+v, want 10,000 impressions and 400 clicks of spring, and those of #7", c.Lines)
	}
	for _, l := range c.Lines {
		if l.Factor < 3 || l.Factor > 5 {
			t.Errorf("%s has the factor %v, want about 4", l.Campaign, l.Factor)
		}
	}
}

func TestModelsClient(t *testing.T) {
	s, _ := startWithModels(t)
	c, ctx := s.client(), t.Context()
	model := func(m *admin.Model, err error) *admin.Model {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for range 2 {
		if m := model(c.AddModel(ctx, strings.NewReader(modelFile(t, 0.02)))); m.Version != 2 || m.Status != "shadow" {
			t.Errorf("AddModel = %+v", m)
		}
	}
	if m := model(c.PromoteModel(ctx, "2", 0.25)); m.Status != "canary" || m.Canary != 0.25 {
		t.Errorf("PromoteModel = %+v", m)
	}
	if m := model(c.RetireModel(ctx, "2")); m.Status != "retired" {
		t.Errorf("RetireModel = %+v", m)
	}
	if m := model(c.PromoteModel(ctx, "2", 0)); m.Status != "live" {
		t.Errorf("PromoteModel = %+v", m)
	}
	if m := model(c.RollBackModel(ctx, "2", "")); m.Status != "rolled-back" || m.Reason != "by hand" {
		t.Errorf("RollBackModel = %+v", m)
	}
	if m := model(c.PromoteModel(ctx, "online", 0)); m.Version != 1 || m.Pinned {
		t.Errorf("PromoteModel of online = %+v", m)
	}
	all, err := c.Models(ctx)
	if err != nil || len(all) != 2 || all[0].Version != 2 {
		t.Errorf("Models = %+v, %v", all, err)
	}
	var refused *admin.RefusedError
	if _, err := c.AddModel(ctx, strings.NewReader("no model")); !errors.As(err, &refused) || refused.Status != 422 || !strings.Contains(refused.Detail, "not a model file") {
		t.Errorf("AddModel of text = %v", err)
	}
	if _, err := c.Model(ctx, "9"); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("Model of nothing = %v", err)
	}
}
