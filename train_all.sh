#!/usr/bin/env bash
# Train every style of a suite, make its seeded pictures, verify them, and show a table and a contact sheet.
#   SUITE=configs/demo.yaml   the suite file, or the name of one that ships: demo; demo_clip or demo_lora by METHOD
#   STYLES="disney,ukiyo-e"   only these styles, separated by commas; other words make a style of their own
#   METHOD=ipl|nada           by CLIP alone: replaces the suite's method, its runs then go to runs/<suite>-<method>
#   METHOD=teacher            by a diffusion model, as the suite demo does
#   METHOD=lora               a diffusion model and suites of its own: demo_lora, jittor_a, jittor_b
#   GPUS=0,1                  one process per GPU, styles dealt in turn; without it the CPU works
#   --engine ray --store s3://bucket/prefix   on several machines: docs/several_machines.md
# Relative paths count from where you stand; runs/ and results/ are made there. Further arguments go to the command.
# Finished styles are skipped. A style that fails is reported and does not stop the others.
# Exit code: 0 all done and verified, 1 a style failed or differed, 2 a mistake in the call or on this machine, 130 stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

# Mistakes are told before anything is installed.
suite=${SUITE:-demo}
case "${SUITE:-}:${METHOD:-}" in
    :lora) suite=demo_lora ;;
    :ipl | :nada) suite=demo_clip ;;
esac
name=${suite#configs/} name=${name%.yaml}
[[ -f "$suite" || ("$name" != */* && -f "$ROOT/configs/$name.yaml") ]] || fail "there is no suite file $suite in $PWD"
[[ -z "${STYLES:-}" || -n "${STYLES//[, ]/}" ]] || fail "STYLES='$STYLES' names no style: write disney,cubism, or nothing"
[[ "${METHOD:-ipl}" =~ ^(ipl|nada|teacher|lora)$ ]] || fail "unknown METHOD '$METHOD': choose ipl, nada, teacher or lora"
[[ "${GPUS:-0}" =~ ^[0-9]+([,\ ]+[0-9]+)*$ ]] || fail "GPUS='$GPUS' is not a list of numbers such as 0,1"

use_environment requirements.txt
"$PYTHON" -m jittor_ipl doctor --quiet --deep || fail "this machine is not ready: see above"
exec "$PYTHON" -m jittor_ipl train-all --config "$suite" --styles "${STYLES:-}" --method "${METHOD:-}" \
    --gpus "${GPUS:-}" "$@"
