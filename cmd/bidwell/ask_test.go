package main

import (
	"path/filepath"
	"testing"
)

// The address of a running bidwell may be given as people say it, and what is
// no address is said to be none.
func TestAdminAddress(t *testing.T) {
	p := serve(t)
	for _, address := range []string{p.admin, "http://" + p.admin, "http://" + p.admin + "/"} {
		wantText(t, mustRun(t, "model", "list", "--admin", address), "1        live")
	}
	t.Setenv("BIDWELL_ADMIN", p.admin)
	wantText(t, mustRun(t, "model", "list"), "1        live")
	for _, address := range []string{"", "http://", "ftp://" + p.admin, "http:/" + p.admin, "http://" + p.admin + "/?x=1", "local host:8081", "://" + p.admin, "localhost:eighty"} {
		for _, args := range [][]string{{"model", "list"}, {"report", "pacing", "x"}, {"experiment", "results", "x"}, {"report", "maturity"}, {"conversions", "import", "-"}} {
			_, err := command(t, append(args, "--admin", address)...)
			wantError(t, err, "--admin", "want the address of an admin API, such as localhost:8081")
		}
	}
	_, err := command(t, "report", "shading", "--admin", freeAddress(t))
	wantError(t, err, "connection refused", "is `bidwell serve`")
}

// What is wrong with a file names the file.
func TestWrongFilesAreNamed(t *testing.T) {
	p := serve(t)
	readme := write(t, "README.md", "# About\n\nA, B\n")
	for _, args := range [][]string{
		{"model", "add", readme, p.api()},
		{"explain", readme, p.api()},
		{"apply", "-f", readme, p.api()},
		{"model", "train", "--in", readme, "--out", filepath.Join(t.TempDir(), "m")},
		{"model", "evaluate", "--in", readme, "--label", "y", "--train", "9"},
		{"experiment", "read", "--in", readme, "--arm", "a", "--metric", "b"},
		{"experiment", "read", "--in", readme, "--arm", "# About", "--metric", "b"},
		{"experiment", "read", "--in", readme, "--arm", "# About", "--metric", "# About"},
		{"audience", "import", "--segment", "none", readme, p.api()},
		{"conversions", "import", readme, p.api()},
	} {
		_, err := command(t, args...)
		wantError(t, err, readme)
	}
	folder := t.TempDir()
	for _, args := range [][]string{{"model", "add", folder, p.api()}, {"explain", folder, p.api()}, {"apply", "-f", folder, p.api()}} {
		_, err := command(t, args...)
		wantError(t, err, folder, "is a directory")
	}
}
