package models

import (
	"bytes"
	_ "embed" // for the model below
)

// starter.bin is written by the project's own training command.
//
//go:embed starter.bin
var starter []byte

// Starter is the model that a new installation bids with until it has learned
// its own.
func Starter() (*Model, error) { return ReadModel(bytes.NewReader(starter)) }
