#!/usr/bin/env bash
# Fill B_weight/<suite> from the finished runs in RUNS (default runs/demo) and prove it.
# Arguments go to the command: bash scripts/release.sh --exact
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

use_environment requirements.txt
"$PYTHON" -m jittor_ipl release --runs "${RUNS:-runs/demo}" "$@"
"$PYTHON" "$ROOT/test.py"
