package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
)

// Models are all versions, the newest first.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	all := []Model{}
	for cursor := ""; ; {
		var page Page[Model]
		if err := c.get(ctx, "/v1/models?limit=1000&cursor="+url.QueryEscape(cursor), &page); err != nil {
			return nil, fmt.Errorf("models: %w", err)
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// Model is one version, with its calibration.
func (c *Client) Model(ctx context.Context, version string) (*Model, error) {
	var m Model
	if err := c.get(ctx, "/v1/models/"+url.PathEscape(version), &m); err != nil {
		return nil, fmt.Errorf("model %s: %w", version, err)
	}
	return &m, nil
}

// AddModel uploads the file of a model. It streams.
func (c *Client) AddModel(ctx context.Context, file io.Reader) (*Model, error) {
	var m Model
	// The wrapper hides the file's type, so that it is sent as it comes.
	if err := c.call(ctx, "/v1/models", "application/octet-stream", struct{ io.Reader }{file}, &m); err != nil {
		return nil, fmt.Errorf("add model: %w", err)
	}
	return &m, nil
}

// PromoteModel makes a version live or, with a share of the users, the canary.
// The version online is the last that was learned while bidding.
func (c *Client) PromoteModel(ctx context.Context, version string, canary float64) (*Model, error) {
	body := map[string]float64{}
	if canary != 0 {
		body["canary"] = canary
	}
	return c.changeModel(ctx, version, "promote", body)
}

// RollBackModel takes the live version or the canary out of service. The reason
// may be empty.
func (c *Client) RollBackModel(ctx context.Context, version, reason string) (*Model, error) {
	return c.changeModel(ctx, version, "rollback", map[string]string{"reason": reason})
}

// RetireModel takes a shadow or the canary out of the comparison.
func (c *Client) RetireModel(ctx context.Context, version string) (*Model, error) {
	return c.changeModel(ctx, version, "retire", struct{}{})
}

func (c *Client) changeModel(ctx context.Context, version, verb string, body any) (*Model, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s model %s: %w", verb, version, err)
	}
	var m Model
	if err := c.call(ctx, "/v1/models/"+url.PathEscape(version)+"/"+verb, "application/json", bytes.NewReader(text), &m); err != nil {
		return nil, fmt.Errorf("%s model %s: %w", verb, version, err)
	}
	return &m, nil
}
