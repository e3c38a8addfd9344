#!/usr/bin/env bash
# Train every method on every style and seed of configs/benchmark.yaml, measure 1000 pictures of each, write
# docs/benchmark.md where docs is here: of the cells that are done, and of how many.
#   bash scripts/benchmark_adaptation.sh --jobs 2                  hours; goes on where it was stopped
#   bash scripts/benchmark_adaptation.sh --only ours/disney/3,4    this part alone
#   bash scripts/benchmark_adaptation.sh --only ours,nada//3       two rows, every style, one seed
#   bash scripts/benchmark_adaptation.sh --time-limit 60           start no cell after an hour
#   bash scripts/benchmark_adaptation.sh --report                  the report of what is done
#   bash scripts/benchmark_adaptation.sh --config configs/benchmark_real.yaml      downloaded weights (docs/metrics.md)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
use_environment requirements.txt
exec "$PYTHON" -m jittor_ipl benchmark "$@"
