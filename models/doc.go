// Package models says what an impression is worth: the probability of a click
// and of a conversion after it, with the goal of the line item the value of the
// impression, and what to bid of that.
//
// [Features] turns a request and a candidate into hashes. The bid path, the
// log and the training all go through that one function, so that a model is
// never asked about features other than those it learned from. A [Learner]
// follows the log: [FTRL] learns clicks and conversions, [Calibrator] keeps as
// many coming as are predicted, [Shader] learns win rates, [Creatives] how
// creatives do beside their predictions. A [Model] is what was learned,
// [Predictor] the one in service.
//
// A [Registry] keeps the versions of models, has the Predictor of every process
// serve the same ones, and takes those out of service that its [Monitor] finds
// bad. [Experiments] assign users to arms that bid another way.
//
// [FwFM] learns what pairs of features say beyond that; [Pairs] are in a Model
// where they have predicted better. [Ensemble] weighs all learners on tables of
// others' data.
package models
