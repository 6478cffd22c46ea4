package models

// Fields of what [Extract] makes, for pairs of features. A field joins kinds of
// features that say of the same thing: a machine of few fields is trained with
// few clicks, and predicts in the time that a bid has. What is crossed already
// has no field.
const (
	timeField = iota
	inventoryField
	slotField
	deviceField
	placeField
	personField
	segmentField
	adField
	historyField
	pairFields

	sharedFields = adField // those before it all candidates of an imp share
)

var (
	contextPlaces = [contextFeatures]uint8{
		timeField, timeField, // hour, weekday
		inventoryField, inventoryField, inventoryField, inventoryField, // exchange, domain or app, publisher, tag
		slotField, slotField, slotField, // media, size, position
		deviceField, deviceField, deviceField, deviceField, // type, system, make, model
		placeField, placeField, placeField, placeField, // country, region, city, language
		deviceField,                    // connection
		inventoryField, inventoryField, // site or app, category
		slotField, slotField, // flags, floor
		personField, personField, personField, personField, // gender, age, known, number of segments
	}
	candidatePlaces = [candidateFeatures]uint8{
		adField, adField, adField, adField, // creative, line item, advertiser, media
		noField, noField, noField, // creative with domain, size, hour
		historyField, historyField, // frequency, recency
	}
)

// places are the fields of the features of a candidate for a user with some
// segments.
var places = func() (all [maxSegments + 1][]uint8) {
	for segments := range all {
		p := contextPlaces[:]
		for range segments {
			p = append(p[:len(p):len(p)], segmentField)
		}
		p = append(p, candidatePlaces[:]...)
		for range min(segments, maxCrossSegments) {
			p = append(p, noField)
		}
		all[segments] = p
	}
	return all
}()

// segmentsOf is how many segments the user has of whom there are so many
// features, less than zero where no candidate has as many.
func segmentsOf(features int) int {
	n := features - contextFeatures - candidateFeatures
	switch {
	case n > maxSegments+maxCrossSegments:
		return -1
	case n > 2*maxCrossSegments:
		return n - maxCrossSegments
	case n%2 == 0:
		return n / 2
	}
	return -1
}

// Pairs is what an [FwFM] has learned of the pairs of features that [Extract]
// makes: it adds to the logit of a linear model. It is immutable and safe to
// share.
type Pairs struct{ factors }

// paired is what Pairs have worked out for the part of the features that all
// candidates of an imp share.
type paired struct {
	logit float32
	pull  [pairFields - sharedFields]vector
}

// begin takes the shared features of an imp.
func (m *Pairs) begin(p *paired, shared []uint32) {
	var sums [sharedFields]vector
	mask := uint32(len(m.vectors) - 1)
	for i, h := range shared {
		field := uint8(segmentField)
		if i < contextFeatures {
			field = contextPlaces[i]
		}
		sums[field].add(&m.vectors[h&mask])
	}
	logit := m.bias
	for a := range sums {
		pull := m.linear[a]
		for b := range a {
			pull.addTimes(&sums[b], m.strength[a*pairFields+b])
		}
		logit += sums[a].dot(&pull)
	}
	p.logit = logit
	for c := range p.pull {
		field := sharedFields + c
		p.pull[c] = m.linear[field]
		for b := range sums {
			p.pull[c].addTimes(&sums[b], m.strength[field*pairFields+b])
		}
	}
}

// candidate is what the pairs add to the logit of a candidate with its own
// features.
func (m *Pairs) candidate(p *paired, own []uint32) float32 {
	var ad, history vector
	mask := uint32(len(m.vectors) - 1)
	for i, field := range candidatePlaces {
		switch field {
		case adField:
			ad.add(&m.vectors[own[i]&mask])
		case historyField:
			history.add(&m.vectors[own[i]&mask])
		}
	}
	const both = adField*pairFields + historyField
	return p.logit + ad.dot(&p.pull[0]) + history.dot(&p.pull[1]) + m.strength[both]*ad.dot(&history)
}

// of is what the pairs add to the logit of a whole list of features: zero where
// no candidate has such a list.
func (m *Pairs) of(hashes []uint32) float32 {
	segments := segmentsOf(len(hashes))
	if segments < 0 {
		return 0
	}
	var p paired
	shared := contextFeatures + segments
	m.begin(&p, hashes[:shared])
	return m.candidate(&p, hashes[shared:])
}

func (v *vector) add(w *vector) {
	for k := range v {
		v[k] += w[k]
	}
}

func (v *vector) addTimes(w *vector, times float32) {
	for k := range v {
		v[k] += times * w[k]
	}
}

func (v *vector) dot(w *vector) float32 {
	return v[0]*w[0] + v[1]*w[1] + v[2]*w[2] + v[3]*w[3] + v[4]*w[4] + v[5]*w[5] + v[6]*w[6] + v[7]*w[7]
}
