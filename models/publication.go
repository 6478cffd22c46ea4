package models

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
)

// Publication is what a learner knows, as a trainer hands it to bidders: the
// model, the win rates and the creatives, and how the versions did of late.
type Publication struct {
	Position  uint64 // of the log, that of the last batch it has learned from
	Version   uint32 // in whose name the model serves; zero for none
	Model     *Model
	Shader    []byte // of [Shader.Append]
	Creatives []byte // of [Creatives.MarshalBinary]

	windows map[uint32]Window
}

// ErrPublication is wrapped in what is returned for bytes that are no
// publication of use to this program.
var ErrPublication = errors.New("what was published is refused")

const (
	publicationName    = "bidwell publication\n"
	publicationVersion = 1
	maxWindows         = 1 << 16
)

// Append appends p. The same publication always becomes the same bytes.
func (p *Publication) Append(b []byte) ([]byte, error) {
	var model bytes.Buffer
	if err := p.Model.Write(&model); err != nil {
		return nil, err
	}
	return sealState(b, publicationName, publicationVersion, func(s *state) {
		file := model.Bytes()
		p.walk(s, &file)
	}), nil
}

func (p *Publication) walk(s *state, model *[]byte) {
	s.uint64(&p.Position)
	s.uint32(&p.Version)
	s.part(model, 2*maxFile)
	s.part(&p.Shader, maxFile)
	s.part(&p.Creatives, maxCreatives)
	walkMap(s, &p.windows, maxWindows, func(s *state, version *uint32, w *Window) {
		s.uint32(version)
		s.float64(&w.Rows, &w.Clicks, &w.Predicted, &w.squares, &w.predictedS, &w.loss[0], &w.loss[1], &w.lossS[0], &w.lossS[1])
	}, cmp.Compare[uint32])
}

// ParsePublication reads what [Publication.Append] wrote. It refuses what is cut
// off, damaged, of another version, or does not predict what it did where it
// was learned. The bytes must not change any more.
func ParsePublication(b []byte) (*Publication, error) {
	body, err := checkFile(b, publicationName, publicationVersion)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPublication, err)
	}
	p, s := new(Publication), &state{bytes: body, reading: true}
	var model []byte
	if p.walk(s, &model); s.failed || len(s.bytes) > 0 {
		return nil, fmt.Errorf("%w: lengths do not add up", ErrPublication)
	}
	if p.Model, err = parseModel(model); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPublication, err)
	}
	p.Model.Version = p.Version
	return p, nil
}
