package nats

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// door lets in the process itself, and guests who know the secret of the
// folder. What guests may do is what a subscription takes; but a subscription
// may have messages delivered to any subject, that of the log of money too. So
// a guest has to be one who may read the folder.
type door struct{ secret string }

// Check implements [server.Authentication].
func (d door) Check(c server.ClientAuthentication) bool {
	if from := c.RemoteAddress(); from != nil && from.Network() == "pipe" {
		return true
	}
	if subtle.ConstantTimeCompare([]byte(c.GetOpts().Token), []byte(d.secret)) != 1 {
		return false
	}
	c.RegisterUser(&server.User{Username: "guest", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.INFO.>", "$JS.API.CONSUMER.MSG.NEXT.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}})
	return true
}

const secretLength = 26 // of rand.Text

// secretFile is in the folder of the log.
func secretFile(dir string) string { return filepath.Join(dir, "GUEST") }

// readSecret is empty where a folder has none.
func readSecret(dir string) (string, error) {
	text, err := os.ReadFile(secretFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) != secretLength {
		return "", fmt.Errorf("%s: holds no secret: remove it, and the bidder makes another when it starts", secretFile(dir))
	}
	return secret, nil
}

// keepSecret reads the secret of a folder, or makes one.
func keepSecret(dir string) (string, error) {
	if secret, err := readSecret(dir); secret != "" || err != nil {
		return secret, err
	}
	secret := rand.Text()
	draft := secretFile(dir) + ".new"
	if err := os.WriteFile(draft, []byte(secret+"\n"), 0o600); err != nil {
		return "", err
	}
	return secret, os.Rename(draft, secretFile(dir))
}
