#!/usr/bin/env bash
# Kill, damage, fill, double and soak what must not lose anything; print the figures, write runs/torture/report.json.
#   bash scripts/torture.sh                 the long form: about an hour of one free core, and a core compilation
#   bash scripts/torture.sh --short         the short form: minutes
#   bash scripts/torture.sh kills soak      only these parts
# A part that passed is not repeated; --again forgets the earlier ones. docs/reliability.md holds the last long form.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

all="kills corruptions disks locks threads soak compiles hostile_pickles flip_fixtures fuzz_images fuzz_readers"
form=long again='' parts=()
for word in "$@"; do
    case "$word" in
        --short) form=short ;;
        --again) again=1 ;;
        -*) fail "unknown argument $word: bash scripts/torture.sh [--short] [--again] [PART ...]" ;;
        *) [[ " $all " == *" $word "* ]] || fail "there is no part $word; choose from $all"; parts+=("$word") ;;
    esac
done
if ((${#parts[@]} == 0)); then read -ra parts <<< "$all"; fi

use_environment requirements.txt requirements-dev.txt
export OMP_NUM_THREADS=1
folder="runs/torture/$form"
mkdir -p "$folder"
for part in "${parts[@]}"; do
    log="$folder/$part.log"
    if [[ -z "$again" && -f "$log" ]] && tail -n 1 "$log" | grep -q '"passed": true'; then
        echo "$part: passed before ($log)"
        continue
    fi
    echo "$part ..."
    arguments=()
    if [[ "$form" == short ]]; then arguments=(--short); fi
    if ! "$PYTHON" -m "tests.torture.$part" "${arguments[@]}" 2>"${log%.log}.err" | tee "$log" | sed '$d'; then
        echo "$part: FAILED, see $log and ${log%.log}.err"
    fi
done
"$PYTHON" -m tests.torture.report "$folder"
