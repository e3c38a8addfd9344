#!/usr/bin/env bash
# Make the environment of the reference libraries (.venv-parity) and run the tests that compare with them.
# Arguments go to pytest: bash scripts/parity.sh -k clip
# An environment of your own serves as well: JITTOR_IPL_REFERENCE_PYTHON=/path/to/bin/python bash scripts/run_tests.sh -m reference
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

use_environment requirements.txt requirements-dev.txt
ours=$PYTHON
if [[ -z "${JITTOR_IPL_REFERENCE_PYTHON:-}" ]]; then
    reference="$PWD/.venv-parity"
    _in_range "$reference/bin/python" || "$ours" -m venv --clear "$reference" || fail "could not make $reference"
    wanted=$(_stamp_of "$reference/bin/python" requirements-parity.txt)
    if [[ "$(cat "$reference/.stamp" 2>/dev/null)" != "$wanted" ]]; then
        echo "installing requirements-parity.txt into $reference (PyTorch is large: some minutes)" >&2
        "$reference/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt \
            || fail "pip could not install requirements-parity.txt: see its message above"
        echo "$wanted" > "$reference/.stamp"
    fi
    export JITTOR_IPL_REFERENCE_PYTHON="$reference/bin/python"
fi
exec "$ours" -m pytest -m reference "$@"
