package rtb

// Explanation says what the bidder decides on a request and why.
type Explanation struct {
	Exchange    string           `json:"exchange" doc:"Exchange profile used"`
	Outcome     string           `json:"outcome" doc:"\"bid\", or the reason of the whole request's no-bid"`
	User        string           `json:"user" doc:"What is known of the user, or why nobody was looked up"`
	Experiments []string         `json:"experiments,omitempty" doc:"The arms of experiments that the user is in, such as \"bid-less, arm 2\"; they may change every value and price below"`
	Answer      string           `json:"answer,omitempty" doc:"The answer as it would go to the exchange"`
	Imps        []ImpExplanation `json:"imps" doc:"What happened to each impression"`
}

// ImpExplanation lists what became of every line item for one impression.
type ImpExplanation struct {
	ID        string                `json:"id"`
	Outcome   string                `json:"outcome" doc:"\"bid\", or why there is none"`
	FloorCPM  string                `json:"floor_cpm" doc:"Floor in the account currency, as a CPM"`
	LineItems []LineItemExplanation `json:"line_items"`
}

// LineItemExplanation is the stage and rule that stopped a line item, or what
// it would have bid.
type LineItemExplanation struct {
	LineItem string  `json:"line_item" doc:"Id of the line item"`
	Stage    string  `json:"stage" enum:"match,filter,creative,pacing,price,auction,bid" doc:"How far it came"`
	Reason   string  `json:"reason,omitempty" doc:"The rule that stopped it; empty for a bid"`
	Creative string  `json:"creative,omitempty" doc:"Id of the creative it would show"`
	Product  string  `json:"product,omitempty" doc:"Id of the product that the creative would be shown with"`
	Choice   string  `json:"choice,omitempty" doc:"Why this creative, where several of the line item fit"`
	Deal     string  `json:"deal,omitempty"`
	Model    uint32  `json:"model,omitempty" doc:"Version of the model that predicts"`
	CTR      float64 `json:"pctr,omitempty" doc:"Predicted probability of a click"`
	CVR      float64 `json:"pcvr,omitempty" doc:"Predicted probability of a conversion after a click"`
	ValueCPM string  `json:"value_cpm,omitempty" doc:"Worth of a thousand such impressions, in the account currency"`
	PriceCPM string  `json:"price_cpm,omitempty" doc:"What it would bid, in the account currency"`
	Rank     int     `json:"rank,omitempty" doc:"1 for the one that bids"`

	Creatives []CreativeExplanation `json:"creatives,omitempty" doc:"Those that fit, where there are several; at most eight"`
}

// CreativeExplanation is what is known of a creative that fits.
type CreativeExplanation struct {
	Creative string  `json:"creative" doc:"Id of the creative"`
	Product  string  `json:"product,omitempty" doc:"Id of the product that it would be shown with"`
	CTR      float64 `json:"pctr,omitempty" doc:"Predicted probability of a click, which makes the price"`
	Known    float64 `json:"known,omitempty" doc:"The same as experience with the creative corrects it; for cpa and roas, of a conversion"`
	Draw     float64 `json:"draw,omitempty" doc:"A draw of that: the highest is shown, unless exploring it would cost too much"`
}
