#!/usr/bin/env bash
# Rebuild the demo world's assets (jittor_ipl/world/assets) with this project's own code; resumable, some hours on 2 cores.
#   bash scripts/pretrain_demo.sh            everything
#   bash scripts/pretrain_demo.sh judge      only some parts
#   bash scripts/pretrain_demo.sh diffusion  the diffusion model, its decoder first
#   bash scripts/pretrain_demo.sh pets-teacher   what lets diffusion-all draw pets, its decoder first
#   bash scripts/pretrain_demo.sh directions the dictionary of edits by words, some minutes
#   bash scripts/pretrain_demo.sh judge-shape    after it: pictures that went through its autoencoder are among the examples
# Two parts train side by side, one core each: small networks gain more from that than from a second thread.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh
use_environment requirements.txt
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
directions() {
    local made
    made=$(mktemp -d)
    "$PYTHON" -m jittor_ipl edit prepare --weights demo:generator --clip demo:clip-local --output "$made"
    mv "$made/directions.safetensors" jittor_ipl/world/assets/directions.safetensors
    mv "$made/statistics.safetensors" jittor_ipl/world/assets/style-statistics.safetensors
    rm -r "$made"
}
if [ "${1:-}" = directions ]; then
    directions
    exit
fi
if [ $# -gt 0 ]; then
    exec "$PYTHON" -m jittor_ipl.world.teaching.pretrain "$@"
fi
"$PYTHON" -m jittor_ipl.world.teaching.pretrain --pools
"$PYTHON" -m jittor_ipl.world.teaching.pretrain clip-plain clip-local clip-robust pets-judge pets-judge-structure & first=$!
"$PYTHON" -m jittor_ipl.world.teaching.pretrain judge judge-structure generator encoder pets-generator diffusion diffusion-all judge-shape pets-teacher & second=$!
status=0
wait "$first" || status=$?
wait "$second" || status=$?
if [ "$status" -eq 0 ]; then directions; fi
exit "$status"
