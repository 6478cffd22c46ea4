package admin

import (
	"context"
	"net"
)

// ServeOn is Serve with a listener that the test has opened.
func (s *Server) ServeOn(ctx context.Context, l net.Listener) error { return s.serve(ctx, l) }
