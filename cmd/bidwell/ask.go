package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

// askCommand is a command that asks a running bidwell, and prints what it
// answers as JSON or for people.
func askCommand[T any](cmd *cobra.Command, ask func(cmd *cobra.Command, c *admin.Client, args []string) (T, error), show func(to io.Writer, answer T) error) *cobra.Command {
	var address string
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := connect(address)
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := ask(cmd, client, args)
		if err != nil {
			return unreachable(err, address)
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
		}
		return show(cmd.OutOrStdout(), answer)
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	adminFlag(cmd, &address)
	return cmd
}

// adminFlag is the address of a running server's admin API, for connect.
func adminFlag(cmd *cobra.Command, address *string) {
	cmd.Flags().StringVar(address, "admin", adminAddress(), "address of the admin API of a running bidwell, such as localhost:8081 (environment: BIDWELL_ADMIN)")
}

// connect makes a client for the admin API at an address, with or without its scheme.
func connect(address string) (*admin.Client, error) {
	base := address
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--admin %q: want the address of an admin API, such as localhost:8081 or http://127.0.0.1:8081", address)
	}
	return admin.NewClient(base), nil
}

// unreachable adds what to do about it to an error of the admin API's client
// that comes from the network.
func unreachable(err error, address string) error {
	var network interface{ Timeout() bool }
	var file *fs.PathError // has a Timeout as well
	if errors.As(err, &network) && !errors.As(err, &file) {
		return fmt.Errorf("%w\nis `bidwell serve` or `bidwell demo` running with its admin API at %s?", err, address)
	}
	return err
}

// openInput opens the file that a command reads; - is standard input.
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// ofFile names the file in what the admin API has against its content.
func ofFile(name string, err error) error {
	var refused *admin.RefusedError
	if errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return err
}
