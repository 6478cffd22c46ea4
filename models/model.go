package models

import (
	"math"

	"bidwell/rtb"
)

// Model is all that bids are priced by: what makes a click likely, and what a
// conversion after it, each with its corrections. It is immutable and safe to
// share.
type Model struct {
	// Version is its number in the registry; bids carry it, so that what they
	// lead to is known to be its doing. Zero for one that is in no registry.
	Version uint32

	Clicks      *Logistic
	Pairs       *Pairs    // what pairs of features add to the logit of a click; nil where that predicted no better
	Conversions *Logistic // of clicks; its score is the odds, see [Learner]; nil when none has been learned

	// What the predictions are corrected by; nil for nothing.
	ClickRatio, ConversionRatio *Calibration

	// Orders are the mean values of a conversion, by campaign; that of campaign
	// zero is for all others.
	Orders map[rtb.CampaignID]rtb.Money
}

// DefaultConversionRate is that of a click while nothing is known of
// conversions.
const DefaultConversionRate = 0.02

// defaultConversionScore is the score of DefaultConversionRate.
var defaultConversionScore = float32(math.Log(DefaultConversionRate))

// odds are those of a score, as a probability.
func odds(score float32) float64 {
	p := math.Exp(float64(min(score, 0)))
	if p > maxProbability {
		return maxProbability
	}
	if p >= minProbability {
		return p
	}
	return minProbability
}

// Order is what one conversion of a campaign is worth to the advertiser, zero
// when there was none yet.
func (m *Model) Order(campaign rtb.CampaignID) rtb.Money {
	if v, ok := m.Orders[campaign]; ok {
		return v
	}
	return m.Orders[0]
}

// clicks corrects a click rate for a campaign.
func (m *Model) clicks(campaign rtb.CampaignID, logit float32) float64 {
	p := probability(logit)
	if m.ClickRatio != nil {
		p = m.ClickRatio.Apply(uint32(campaign), p)
	}
	return p
}

// conversions is the conversion rate of a score.
func (m *Model) conversions(campaign rtb.CampaignID, score float32) float64 {
	p := odds(score)
	if m.ConversionRatio != nil {
		p = m.ConversionRatio.Apply(uint32(campaign), p)
	}
	return p
}

func (m *Model) clickLogit(hashes []uint32) float32 {
	logit := m.Clicks.bias + m.Clicks.sum(hashes)
	if m.Pairs != nil {
		logit += m.Pairs.of(hashes)
	}
	return logit
}

// ClickRate is that of a list of features in a campaign.
func (m *Model) ClickRate(campaign rtb.CampaignID, hashes []uint32) float64 {
	return m.clicks(campaign, m.clickLogit(hashes))
}

// ConversionRate is that of a click.
func (m *Model) ConversionRate(campaign rtb.CampaignID, hashes []uint32) float64 {
	if m.Conversions == nil {
		return m.conversions(campaign, defaultConversionScore)
	}
	return m.conversions(campaign, m.Conversions.bias+m.Conversions.sum(hashes))
}
