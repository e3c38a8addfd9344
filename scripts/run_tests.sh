#!/usr/bin/env bash
# Install what the tests need and run them all. Arguments go to pytest: bash scripts/run_tests.sh -k cli
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

use_environment requirements.txt requirements-dev.txt requirements-ui.txt requirements-cluster.txt
# The browser of the web page's tests; without it, or where nothing can be installed, they are skipped with the reason.
if ! command -v chromium > /dev/null && command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk; } > /dev/null || true
fi
exec "$PYTHON" -m pytest "$@"
