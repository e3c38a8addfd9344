#!/usr/bin/env bash
# The engine for several machines, on this one: tests, then 40 tasks on 3 Ray nodes with 2 of them killed and a store
# that fails 5 % of its requests, then real styles; prints the figures. Everything listens on loopback alone.
#   bash scripts/cluster_check.sh             some minutes
#   bash scripts/cluster_check.sh --long      the long form alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

[[ $# == 0 || "$*" == --long ]] || fail "unknown argument $*: bash scripts/cluster_check.sh [--long]"
use_environment requirements.txt requirements-dev.txt requirements-cluster.txt
if (($# == 0)); then "$PYTHON" -m pytest -q tests/cluster; fi
exec "$PYTHON" -m tests.cluster.long
