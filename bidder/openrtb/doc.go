// Package openrtb turns OpenRTB 2.0 to 2.6 JSON into the words of package rtb
// and back.
//
// [Decode] reads a bid request in a single pass into a reused [rtb.Request].
// It looks at every byte once, checks the whole JSON grammar, skips what it
// does not know, and copies nothing but strings that contain escapes, which it
// unescapes into the Arena of the request. Everything it returns therefore
// aliases the body and lives no longer. It does not allocate once the request
// has grown to the usual size.
//
// Exchanges send odd types: numbers as strings, floats for integers, booleans
// for 0 and 1, null anywhere, scalars for arrays and arrays for scalars. All
// of these are read for what they mean. A field that cannot be read costs at
// most its impression, which becomes Broken; only a body that is not one JSON
// object, or has no id or no imp, is an error.
//
// [NativeRequest] reads the request of a native impression, which travels as a
// document within the document and is only parsed where a native creative
// might answer.
//
// [AppendResponse] writes the answer by appending to a buffer; the markup of a
// creative was prepared by [Compile] when the campaign changed.
package openrtb
