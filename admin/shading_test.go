package admin

import (
	"testing"

	"bidwell/models"
)

// Sums are of floats, which may pass what money can say.
func TestShadingOfMuchMoney(t *testing.T) {
	for spend, want := range map[float64]Amount{
		0: "0.00", 2.5e9: "2.50", -1e9: "-1.00",
		1 << 63: "9223372036.854775807", 1e300: "9223372036.854775807", -1e300: "-9223372036.854775807",
	} {
		if got := shadingOf(models.Savings{Shaded: models.SpendPerWin{Spend: spend}}).Shaded.Spend; got != want {
			t.Errorf("a spend of %g is shown as %s, want %s", spend, got, want)
		}
	}
}
