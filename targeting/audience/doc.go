// Package audience keeps track of who belongs to which segment.
//
// An [Importer] reads an uploaded list of e-mail addresses, phone numbers,
// device ids and cookies, turns each into a [rtb.UserID] and hands them to
// [Profiles], the store. The raw identifiers are neither kept nor shown:
// not on disk, not in an error, not in a log.
//
// An upload counts whole or not at all. Whatever breaks it off, the segment
// afterwards has its old members or the new ones.
package audience
