// Package report reads the log by experiment arm, and says what the arms
// differ by and how sure that is.
//
// The statistics are pure functions of a [Sample] of each arm. The unit is the
// user, always: impressions of one user are not independent of one another, so
// counting them as if they were finds differences that are not there. A metric
// is a ratio of two sums over users, clicks by impressions for example, or a
// mean, whose denominator is one for each user; the delta method gives the
// variance of both (Deng, Knoblich, Lu, Applying the Delta Method in Metric
// Analytics, KDD 2018).
package report

import "math"

// User is what is known of one user in one arm.
type User struct {
	Metric      float64 // what is compared
	Denominator float64 // 1 for a mean over users
	Covariate   float64 // something of before the experiment; zero where nothing is known
}

// Sample is an arm: sums over its users. The zero value is an empty arm.
type Sample struct {
	Users                  float64
	Y, D, X                float64 // metric, denominator, covariate
	YY, DD, XX, YD, YX, DX float64 // and their products

	// NotBinary is true once a metric was not 0 or 1, or a denominator not 1: as
	// long as it is false the metric is a proportion.
	NotBinary bool
}

// Add puts one more user in.
func (s *Sample) Add(u User) {
	s.Users++
	s.Y += u.Metric
	s.D += u.Denominator
	s.X += u.Covariate
	s.YY += u.Metric * u.Metric
	s.DD += u.Denominator * u.Denominator
	s.XX += u.Covariate * u.Covariate
	s.YD += u.Metric * u.Denominator
	s.YX += u.Metric * u.Covariate
	s.DX += u.Denominator * u.Covariate
	if u.Denominator != 1 || u.Metric != 0 && u.Metric != 1 {
		s.NotBinary = true
	}
}

// Proportion is the Sample of users of whom some did what is compared.
func Proportion(users, did int) Sample {
	n, y := float64(users), float64(did)
	return Sample{Users: n, Y: y, D: n, YY: y, DD: n, YD: y}
}

// Rate is the metric of the arm: the mean over its users, or the ratio. It is
// zero for an empty arm.
func (s *Sample) Rate() float64 {
	if s.D == 0 {
		return 0
	}
	return s.Y / s.D
}

// Variance is that of Rate: by the delta method, of the residuals y - R d over
// the users. It is +Inf where there are too few users to say.
func (s *Sample) Variance() float64 {
	r := s.Rate()
	return s.variance(s.YY - 2*r*s.YD + r*r*s.DD)
}

// variance is that of a ratio whose residuals, which sum to zero, have these
// squares.
func (s *Sample) variance(squares float64) float64 {
	if s.Users < 2 || s.D <= 0 {
		return math.Inf(1)
	}
	return max(squares, 0) * s.Users / (s.Users - 1) / (s.D * s.D)
}

// residual is what CUPED needs: sums of squares and products of the residuals
// e = y - R d and the covariate, both about their means.
func (s *Sample) residual() (ee, ex, xx float64) {
	if s.Users == 0 {
		return 0, 0, 0
	}
	r := s.Rate()
	ee = s.YY - 2*r*s.YD + r*r*s.DD
	ex = s.YX - r*s.DX // e sums to zero, so the mean of x does not matter
	xx = s.XX - s.X*s.X/s.Users
	return ee, ex, xx
}

// plus is the Sample of the users of both.
func (s *Sample) plus(o *Sample) Sample {
	return Sample{
		Users: s.Users + o.Users, Y: s.Y + o.Y, D: s.D + o.D, X: s.X + o.X,
		YY: s.YY + o.YY, DD: s.DD + o.DD, XX: s.XX + o.XX, YD: s.YD + o.YD, YX: s.YX + o.YX, DX: s.DX + o.DX,
		NotBinary: s.NotBinary || o.NotBinary,
	}
}

// differenceVariance is the variance of the difference of two rates. Of the
// variance of each arm's own users and that of all users together it is the
// larger: an arm with few users of whom none did anything has no variance of
// its own, and would make a difference of chance look certain.
func differenceVariance(a, b *Sample) float64 {
	own := a.Variance() + b.Variance()
	if math.IsInf(own, 1) {
		return own
	}
	all := a.plus(b)
	r := all.Rate()
	each := max(all.YY-2*r*all.YD+r*r*all.DD, 0) / (all.Users - 1)
	return max(own, each*(a.Users/(a.D*a.D)+b.Users/(b.D*b.D)))
}
