#!/usr/bin/env bash
# What a GPU computes here, beside the CPU and beside PyTorch: numbers, repetition, speed, one demo style; one table.
#   bash scripts/gpu_check.sh                          on a machine with a GPU
#   bash scripts/gpu_check.sh --device cpu --quick     tries the script itself, anywhere
#   bash scripts/gpu_check.sh --reference-python PY    the Python that has PyTorch, if another one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

use_environment requirements.txt
exec "$PYTHON" scripts/gpu/check.py "$@"
