# The environment part that the other scripts share. Source it from anywhere; it sets ROOT, the repository's folder. Then
#   use_environment requirements.txt [more requirement files of the repository]
# sets PYTHON to an interpreter that has them: the active virtual environment's, else .venv's, made when missing. It
# finds the package from any folder, and says nothing when nothing must be installed.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {  # message, exit code
    echo "error: $1" >&2
    exit "${2:-2}"
}

_in_range() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

_find_python() {  # the first interpreter of a supported version: $PYTHON, python3, then by name
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.10; do
        if _in_range "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.10, 3.11 or 3.12 is needed, none was found: apt-get install -y python3.11 python3.11-dev python3.11-venv"
}

_active_environment() {  # the folder of the active virtual or conda environment; nothing for conda's base
    if [[ -n "${VIRTUAL_ENV:-}" ]]; then
        echo "$VIRTUAL_ENV"
    elif [[ -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-base}" != base ]]; then
        echo "$CONDA_PREFIX"
    fi
}

_require_system() {  # python: one line that names all that is missing, with the command that installs it
    local python=$1 version missing=() packages=()
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    command -v "${cc_path:-g++}" >/dev/null || { missing+=("g++"); packages+=(g++); }
    "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_paths()["include"], "Python.h"))' 2>/dev/null \
        || { missing+=("Python's headers"); packages+=("$version-dev"); }
    if [[ "${2:-}" == needs-venv ]]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || { missing+=("Python's venv module"); packages+=("$version-venv"); }
    fi
    if ((${#missing[@]})); then
        local list
        printf -v list '%s, ' "${missing[@]}"
        fail "missing: ${list%, }. Install with: sudo apt-get install -y ${packages[*]}"
    fi
}

_stamp_of() { (cd "$ROOT" && { "$1" --version; cat "${@:2}"; } | sha256sum | cut -d' ' -f1); }  # python, requirement files

use_environment() {
    local folder base stamp file wanted arguments=()
    folder=$(_active_environment)
    if [[ -n "$folder" ]]; then
        PYTHON="$folder/bin/python"
        _in_range "$PYTHON" || fail "the active environment $folder has no Python 3.10, 3.11 or 3.12: deactivate it, and .venv is used"
        _require_system "$PYTHON"
    else
        folder="$ROOT/.venv"
        if ! _in_range "$folder/bin/python"; then
            base=$(_find_python)
            _require_system "$base" needs-venv
            echo "making the virtual environment $folder with $("$base" --version)" >&2
            "$base" -m venv --clear "$folder" || fail "could not make $folder"
        fi
        PYTHON="$folder/bin/python"
        _require_system "$PYTHON"
    fi
    wanted=$(_stamp_of "$PYTHON" "$@")
    stamp="$folder/.jittor_ipl-$(printf '%s-' "$@" | tr -c 'a-zA-Z0-9-' '_')stamp"
    if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
        for file in "$@"; do arguments+=(-r "$file"); done
        echo "installing $* into $folder" >&2
        (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check "${arguments[@]}") \
            || fail "pip could not install $*: see its message above"
        echo "$wanted" > "$stamp"
    fi
    export PYTHON PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
}
