package loadtest

import "time"

// Consent strings of IAB TCF 2.2 with every purpose and vendor, and with none.
var consentAll, consentNone = consentString(true), consentString(false)

// consentString encodes the core and the disclosed-vendors segments. Vendors
// are given as one range.
func consentString(all bool) string {
	const vendors = 1400
	var w bitWriter
	made := uint64(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() / 100)
	ones := func(n int) uint64 {
		if all {
			return 1<<n - 1
		}
		return 0
	}
	w.put(2, 6)     // version
	w.put(made, 36) // created
	w.put(made, 36) // last updated
	w.put(300, 12)  // consent manager
	w.put(1, 12)    // its version
	w.put(1, 6)     // screen
	w.put(4, 6)     // language: E
	w.put(13, 6)    // N
	w.put(300, 12)  // version of the vendor list
	w.put(4, 6)     // version of the policy
	w.put(0, 1)     // not service specific
	w.put(0, 1)     // standard texts
	w.put(ones(2)<<10, 12)
	w.put(ones(11)<<13, 24)        // purposes consented to
	w.put(ones(11)&^0x5e0<<13, 24) // purposes 1 and 3 to 6 know no legitimate interest
	w.put(0, 1)                    // purpose one treatment
	w.put(3, 6)                    // publisher's country: D
	w.put(4, 6)                    // E
	w.vendors(vendors, all)
	w.vendors(vendors, all) // legitimate interest
	w.put(0, 12)            // no publisher restrictions
	core := w.text()

	w = bitWriter{}
	w.put(1, 3) // the segment of disclosed vendors
	w.vendors(vendors, true)
	return core + "." + w.text()
}

type bitWriter struct {
	bits []bool
}

func (w *bitWriter) put(v uint64, width int) {
	for i := width - 1; i >= 0; i-- {
		w.bits = append(w.bits, v>>i&1 == 1)
	}
}

// vendors writes vendors 1 to n as one range, or none.
func (w *bitWriter) vendors(n uint64, all bool) {
	w.put(n, 16)
	w.put(1, 1) // ranges follow
	if !all {
		w.put(0, 12)
		return
	}
	w.put(1, 12) // one entry
	w.put(1, 1)  // which is a range
	w.put(1, 16)
	w.put(n, 16)
}

func (w *bitWriter) text() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for len(w.bits)%24 != 0 {
		w.bits = append(w.bits, false)
	}
	out := make([]byte, len(w.bits)/6)
	for i := range out {
		v := 0
		for _, bit := range w.bits[i*6 : i*6+6] {
			v <<= 1
			if bit {
				v |= 1
			}
		}
		out[i] = alphabet[v]
	}
	return string(out)
}
