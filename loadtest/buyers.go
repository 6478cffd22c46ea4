package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bidwell/rtb"
)

// adminAPI reads the documents and the books of a bidder.
type adminAPI struct {
	base string
	http *http.Client
}

func newAdminAPI(base string) *adminAPI {
	// Of its own and without a proxy: it is on this machine.
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	return &adminAPI{base: strings.TrimRight(base, "/"), http: &http.Client{Timeout: 10 * time.Second, Transport: transport}}
}

func (a *adminAPI) close() { a.http.CloseIdleConnections() }

// maxDocument bounds one answer of the API.
const maxDocument = 64 << 20

func (a *adminAPI) get(ctx context.Context, path string, into any) error {
	body, err := a.read(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("admin: %s: %w", path, err)
	}
	return nil
}

// read returns the body of an answer.
func (a *adminAPI) read(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("admin: %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin: %s: status %d: %s", path, answer.StatusCode, body[:min(len(body), 300)])
	}
	return body, nil
}

// listAll reads every page of a kind of document.
func listAll[T any](ctx context.Context, a *adminAPI, kind string) ([]T, error) {
	var all []T
	for cursor := ""; ; {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := a.get(ctx, "/v1/"+kind+"?limit=200&cursor="+url.QueryEscape(cursor), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

type budgetDocument struct {
	Total decimal `json:"total"`
	Daily decimal `json:"daily"`
}

// decimal is a sum in the account currency, written as a decimal string.
type decimal rtb.Money

// UnmarshalText reads an empty text as zero.
func (a *decimal) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	m, err := rtb.ParseMoney(string(text))
	*a = decimal(m)
	return err
}

// buyer is a line item as its documents have it.
type buyer struct {
	key, campaign, advertiser string
	zone                      *time.Location
	fees                      rtb.Fees
	own, shared               budgetDocument // shared: of its campaign
	asap                      bool           // spends as fast as it can, so it has no plan
	caps                      []capRule
	minGap                    time.Duration
}

// capRule is a frequency cap.
type capRule struct {
	per    string
	limit  int
	window time.Duration
}

// readBuyers reads the line items by what bids call them: their number. It
// also returns which notice each exchange charges by, where a document says so.
func readBuyers(ctx context.Context, a *adminAPI) (buyers map[string]*buyer, billing map[string]NoticeKind, err error) {
	advertisers, err := listAll[struct{ ID, Timezone string }](ctx, a, "advertisers")
	if err != nil {
		return nil, nil, err
	}
	zones := map[string]*time.Location{}
	for _, d := range advertisers {
		if zones[d.ID], err = time.LoadLocation(d.Timezone); err != nil {
			return nil, nil, fmt.Errorf("admin: advertiser %s: %w", d.ID, err)
		}
	}
	type campaign struct {
		ID, Advertiser string
		Budget         budgetDocument
	}
	list, err := listAll[campaign](ctx, a, "campaigns")
	if err != nil {
		return nil, nil, err
	}
	campaigns := map[string]campaign{}
	for _, d := range list {
		campaigns[d.ID] = d
	}
	items, err := listAll[struct {
		ID, Campaign, Pacing string
		Number               uint32
		Budget               budgetDocument
		Fees                 struct{ Share, CPM decimal }
		Caps                 []struct {
			Per, Window string
			Limit       int
		}
		MinGap string `json:"min_gap"`
	}](ctx, a, "line-items")
	if err != nil {
		return nil, nil, err
	}
	buyers = map[string]*buyer{}
	for _, d := range items {
		k := campaigns[d.Campaign]
		b := &buyer{key: d.ID, campaign: d.Campaign, advertiser: k.Advertiser, zone: zones[k.Advertiser], own: d.Budget, shared: k.Budget, asap: d.Pacing == "asap"}
		if b.zone == nil {
			b.zone = time.UTC
		}
		// A share of 1 is ten thousand of its unit, and a CPM a thousandth for one.
		b.fees = rtb.Fees{Share: uint16(d.Fees.Share / decimal(rtb.Unit/10_000)), Fixed: uint32(d.Fees.CPM / 1000)}
		if d.MinGap != "" {
			if b.minGap, err = time.ParseDuration(d.MinGap); err != nil {
				return nil, nil, fmt.Errorf("admin: line item %s: min_gap: %w", d.ID, err)
			}
		}
		for _, c := range d.Caps {
			window, err := time.ParseDuration(c.Window)
			if err != nil {
				return nil, nil, fmt.Errorf("admin: line item %s: caps: %w", d.ID, err)
			}
			b.caps = append(b.caps, capRule{per: c.Per, limit: c.Limit, window: window})
		}
		buyers[strconv.FormatUint(uint64(d.Number), 10)] = b
	}
	exchanges, err := listAll[struct{ ID, Name, Billing string }](ctx, a, "exchanges")
	if err != nil {
		return nil, nil, err
	}
	billing = map[string]NoticeKind{}
	for _, d := range exchanges {
		name := d.Name
		if name == "" {
			name = d.ID
		}
		switch d.Billing {
		case "nurl":
			billing[name] = NoticeWin
		case "burl":
			billing[name] = NoticeBill
		case "pixel":
			billing[name] = NoticeImpression
		}
	}
	return buyers, billing, nil
}
