#!/usr/bin/env bash
# Runs the commands in the README's sh blocks, in their order. `make run` goes to
# the background while the others talk to it; `make test` has its own turn in CI.
set -euo pipefail
cd "$(dirname "$0")/.."
commands=$(mktemp) log=$(mktemp)
demo=
trap 'if [ -n "$demo" ]; then kill $demo 2>/dev/null; wait $demo 2>/dev/null; fi; rm -f "$commands" "$log"' EXIT
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' README.md | grep -v -x -e 'make run' -e 'make test' >"$commands"
grep -q -x 'make run' README.md

make build
./bin/bidwell demo >"$log" 2>&1 &
demo=$!
for _ in $(seq 1200); do
	grep -q ' req/s ' "$log" && break
	kill -0 $demo 2>/dev/null || { cat "$log"; exit 1; }
	sleep 0.1
done
grep ' req/s ' "$log" | head -1
bash -euo pipefail -x "$commands" >"$log.out" 2>&1 || { cat "$log.out"; echo "a command of the README fails"; exit 1; }
rm -f "$log.out"
echo "the README's commands run"
