#!/usr/bin/env bash
# Plays an exchange's certification against the demo's campaigns with the
# sample requests in the folder $1, plain and gzip.
set -euo pipefail
cd "$(dirname "$0")/.."
corpus=$1
if [ ! -f "$corpus/requests.jsonl" ]; then
	echo "no sample requests in $corpus: conformance suite not run"
	exit 0
fi
bid=127.0.0.1:18780 admin=127.0.0.1:18781
log=$(mktemp)
./bin/bidwell demo --traffic=false --bid.listen $bid --admin.listen $admin >"$log" 2>&1 &
demo=$!
trap 'kill $demo 2>/dev/null; wait $demo 2>/dev/null; rm -f "$log"' EXIT
for _ in $(seq 600); do
	grep -q '^stop:' "$log" && break
	kill -0 $demo 2>/dev/null || { cat "$log"; exit 1; }
	sleep 0.1
done
./bin/loadtest conform --url http://$bid --in "$corpus/requests.jsonl,$corpus/invalid.jsonl" --min-bid-rate 0.6
