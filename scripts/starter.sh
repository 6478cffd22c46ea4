#!/usr/bin/env bash
# Trains models/starter.bin: context features only, on simulated impressions.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
./bin/loadtest exchange --dry --auctions 200000 --seed 1 --log "$log" >&2
./bin/bidwell model train --in "$log" --bits 18 --out models/starter.bin
