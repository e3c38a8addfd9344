#!/usr/bin/env bash
# Train every style of a suite, make its seeded pictures, prove them, and show a table and a contact sheet.
#   SUITE=configs/demo.yaml   the suite file
#   STYLES="disney,ukiyo-e"   only these styles, separated by commas
#   METHOD=ipl|nada           replaces the suite's method; its runs go to runs/<suite>-<method> when it differs
#   GPUS=0,1                  one process per GPU, styles dealt in turn; without it the CPU works
# Finished styles are skipped. A style that fails is reported and does not stop the others.
# Exit code: 0 all done and proved, 1 a style failed or differed, 2 a mistake in the call or on this machine, 130 stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/setup.sh

use_environment requirements.txt
"$PYTHON" -m jittor_ipl doctor --quiet --deep || fail "this machine is not ready: see above"
exec "$PYTHON" -m jittor_ipl train-all --config "${SUITE:-configs/demo.yaml}" --styles "${STYLES:-}" \
    --method "${METHOD:-}" --gpus "${GPUS:-}" "$@"
