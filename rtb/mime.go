package rtb

// Mimes is a set of media types. A type that this package does not know is
// kept as MimeOther, so that a list of unknown types still excludes.
type Mimes uint32

// MimeOther is the member that stands for every unknown type.
const MimeOther Mimes = 1 << 31

var mimeNames = [...]string{
	"image/jpeg", "image/png", "image/gif", "image/webp", "image/svg+xml", "image/avif",
	"text/html", "text/javascript", "application/javascript", "application/x-javascript",
	"video/mp4", "video/webm", "video/ogg", "video/3gpp", "video/quicktime", "video/x-flv",
	"video/x-ms-wmv", "video/x-m4v", "video/mpeg", "application/dash+xml", "application/x-mpegurl",
	"application/vnd.apple.mpegurl",
	"audio/mpeg", "audio/mp4", "audio/ogg", "audio/aac", "audio/wav", "audio/webm", "audio/mp3", "audio/x-m4a",
}

// ParseMime returns the set with the one type s, in any case, or MimeOther.
// "image/jpg" is read as "image/jpeg", as many exchanges write it.
func ParseMime[T ~string | ~[]byte](s T) Mimes {
	for i, name := range mimeNames {
		if equalFold(s, name) {
			return 1 << i
		}
	}
	if equalFold(s, "image/jpg") {
		return 1
	}
	return MimeOther
}

// Name is the media type of a set of one known type, or "".
func (m Mimes) Name() string {
	for i, name := range mimeNames {
		if m == 1<<i {
			return name
		}
	}
	return ""
}

// equalFold compares s to a lower-case ASCII string.
func equalFold[T ~string | ~[]byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
