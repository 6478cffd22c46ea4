#!/usr/bin/env bash
# Runs the commands in the README's sh blocks, in their order, and looks whether
# they say what they should. `make run` goes to the background while the others
# talk to it; `make test` has its own turn in CI.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
commands=$folder/commands demolog=$folder/demo log=$folder/log
demo=
trap 'if [ -n "$demo" ]; then kill $demo 2>/dev/null; wait $demo 2>/dev/null; fi; rm -rf "$folder"' EXIT
echo "PS4=\$'\n+ '" >"$commands" # each command of the trace on a line of its own
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' README.md | grep -v -x -e 'make run' -e 'make test' >>"$commands"
grep -q -x 'make run' README.md

make build
./bin/bidwell demo >"$demolog" 2>&1 &
demo=$!
for _ in $(seq 1200); do
	grep -q ' req/s ' "$demolog" && break
	kill -0 $demo 2>/dev/null || { cat "$demolog"; exit 1; }
	sleep 0.1
done
grep ' req/s ' "$demolog" | head -1
bash -euo pipefail -x "$commands" >"$log" 2>&1 || { cat "$log"; echo "a command of the README fails"; exit 1; }

# says COMMAND PATTERN: something in what the command printed is like that.
says() {
	awk -v command="+ $1" '/^\++ / {on = index($0, command) == 1; next} on' "$log" | grep -E -e "$2" >/dev/null ||
		{ cat "$log"; echo "\"$1\" does not say \"$2\""; exit 1; }
}
says 'curl -s http://127.0.0.1:8081/readyz' '^ready'
says './bin/bidwell explain bidder' '^1 .* bid '
says 'curl -s -X POST http://127.0.0.1:8080/bid/generic' '"seatbid"'
says './bin/loadtest conform' '^violations 0$'
says './bin/loadtest attack' 'errors 0:'
says './bin/loadtest exchange' '^wins +[1-9]'
says './bin/bidwell apply -f bin/first.yaml' '^5 created|5 unchanged$'
says './bin/bidwell audience import' '1 read, .* 0 invalid'
says './bin/bidwell explain bin/customer.json' '^1 +customers-us '
says 'curl -s -w' '^burl: 204$'
says './bin/bidwell report pacing customers-us' '^line-item/customers-us +money +0.0034 '
says './bin/bidwell report discrepancies' '^customers-us +generic +0 +1 '
says './bin/loadtest crash' 'difference 0.00,'
says './bin/loadtest replay --in bin/auctions.csv --budget 1750000' '^utilisation +(0.99|1)'
says './bin/bidwell model list' ' live '
says './bin/bidwell report shading' '^shaded +[1-9]'
says './bin/loadtest replay --in bin/auctions.csv --budget 1e9' '^surplus +[1-9]'
says './bin/bidwell model evaluate' '^auc 0.[6-9]'
says './bin/bidwell experiment results' '^sample ratio:'
says './bin/loadtest experiment' '^passed:'
echo "the README's commands run and say what they should"
