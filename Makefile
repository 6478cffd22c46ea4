# Everything runs with Go and make alone. `make` lists the targets.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -ldflags "-s -w -X main.version=$(VERSION)"
FUZZTIME ?= 10s
CORPUS   ?= ../shared/corpus
DEMO     ?=
AUCTIONS ?= 1000000
KILLS    ?= 200
SEED     ?= 2
TOOLS    := go run

# No C: the build needs no compiler but Go's, takes a third of the time, and
# makes static binaries.
export CGO_ENABLED = 0

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## build bin/bidwell and bin/loadtest
	go build $(LDFLAGS) -o bin/ ./cmd/...

run: build ## run the demo: advertisers, audiences and simulated exchange traffic; settings as in DEMO='--rate 50'
	./bin/bidwell demo $(DEMO)

test: ## run every fast test
	go test ./...

race: ## run the tests under the race detector
	CGO_ENABLED=1 go test -race ./...

# Making interesting inputs small takes most of the time of a short run, and
# finds nothing: ten tries are enough.
fuzz: ## fuzz every parser of outside bytes for FUZZTIME each
	@go list ./... | while read -r p; do go test -list '^Fuzz' $$p | grep '^Fuzz' | while read -r f; do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p || exit 1; done || exit 1; done

bench: build ## time each stage of a bid, then the whole bid against a fasthttp echo
	go test -run '^$$' -bench 'Decode|AppendResponse|Match$$|Predict|Score|Take|AppendToken|Bid$$|FTRL|Shade$$|CalibrationApply|Draw$$|Assign' -benchtime 200ms \
		./bidder/... ./targeting ./models ./pacing ./events
	./bin/loadtest bench --bidwell ./bin/bidwell

check: fmt-check ## what CI checks before the tests: format, module file, vet, staticcheck
	go mod tidy -diff
	go vet ./...
	$(TOOLS) honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

fmt-check:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "gofmt: $$bad"; exit 1; }

lint: ## the linters of .golangci.yml
	$(TOOLS) github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2 run

generate: build ## make the committed generated files again: starter model, OpenAPI document, golden files
	./scripts/starter.sh
	go test ./admin -run OpenAPI -update

conform: build ## run the conformance suite on the sample requests, if they are there
	./scripts/conform.sh $(CORPUS)

loadtest: build ## attack a running bidder; see `bin/loadtest --help`
	./bin/loadtest generate --kind requests --count 10000 --out bin/requests.jsonl
	./bin/loadtest attack --url http://localhost:8080 --in bin/requests.jsonl --rate 2000 --duration 10s

# A day of a market with every fault that notices can have. The keys are those
# of the exchange "sealed" in the documents.
FAULTS := --file scripts/money.yaml --auctions $(AUCTIONS) --start 2026-01-05T00:00:00Z --exchange generic,index,winners,sealed \
	--price-key sealed=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f,202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f \
	--notice-loss 0.05 --notice-duplicate 0.05 --notice-late 0.1 --price-blank 0.005 --max-overspend 0

reconcile: build ## a day of AUCTIONS with all faults of notices: the books must agree, and budgets be used
	./bin/loadtest crash $(FAULTS) --kills 0 --min-used 0.98

crash: build ## the same day with KILLS of the bidder
	./bin/loadtest crash $(FAULTS) --kills $(KILLS)

# Not the market of seed 1: the starter model was trained on it.
learn: build ## a day of second price auctions that the bidder learns from: its surplus against the oracle's
	./bin/loadtest learn --auction second --no-floors --no-deals --tmax 2s --seed $(SEED) --min-surplus 0.93 --min-last-surplus 0.95 \
		--calibration-within 0.05

shade: build ## the same day of first price auctions, whose prices it learns
	./bin/loadtest learn --auction first --no-floors --no-deals --tmax 2s --seed $(SEED) --min-surplus 0.58

cover: ## show test coverage by package
	go test -cover ./...

clean: ## remove what was built
	rm -rf bin

.PHONY: help build run test race fuzz bench check fmt fmt-check lint generate conform loadtest reconcile crash learn shade cover clean
