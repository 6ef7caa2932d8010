#!/usr/bin/env bash
# Runs pytest on the Python modules of a build with sanitizers, such as the preset asan makes:
#   tools/sanitized_pytest.sh build/asan tests/test_smoke.py -q
set -euo pipefail
build=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
package=$build/package
cmake --install "$build" --prefix "$package" >/dev/null
cp -r python/wengert/. "$package/wengert/"
# CPython itself is not instrumented: the sanitizers' runtime comes first, and leaks are its affair.
runtime="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export PYTHONPATH=$package PYTHONMALLOC=malloc WENGERT_WITHOUT_TORCH=1
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
LD_PRELOAD="$runtime $(g++ -print-file-name=libstdc++.so)" python -m pytest "$@"
