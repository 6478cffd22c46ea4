// Package models says what an impression is worth: the probability of a click
// and, with the goal of the line item, the value of the impression.
//
// [Features] turns a request and a candidate into hashes. The bid path, the
// log and the training all go through that one function, so that a model is
// never asked about features other than those it learned from. [FTRL] learns,
// [Logistic] is what it learned, [Predictor] is the one in service. [FwFM] also
// learns what pairs of features say. [Calibrator] keeps as many clicks coming
// as are predicted. [Ensemble] weighs all of them on tables of others' data.
package models
