#!/usr/bin/env bash
# Install what the tests need and run them all. Arguments go to pytest: bash scripts/run_tests.sh -k cli
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

use_environment requirements.txt requirements-dev.txt requirements-ui.txt requirements-cluster.txt
exec "$PYTHON" -m pytest "$@"
