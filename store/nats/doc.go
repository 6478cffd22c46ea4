// Package nats keeps the log of events in a JetStream stream: of a server
// inside this process, or of a cluster outside.
package nats

import (
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go"
	_ "github.com/nats-io/nats.go/jetstream"
)
