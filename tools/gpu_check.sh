#!/usr/bin/env bash
# Builds the CUDA back end, tests it and measures it, in one call under ten minutes, on a machine with
# nvcc, CMake, Ninja, Python, PyTorch, pybind11 and nanobind, and no network. Where there is no GPU it
# checks what can be: the back end on the emulator of CUDA, which it says. A short table comes last.
#
#   tools/gpu_check.sh [RESULTS]     figures go to the folder RESULTS (bench/results by default)
#
# PYTHON and JOBS choose the interpreter and the number of compilers; SKIP names parts to leave out:
# "tests sanitizer bench".
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
results=${1:-${OUT:-$root/bench/results}}
python=${PYTHON:-python3}
jobs=${JOBS:-$(nproc)}
skip=" ${SKIP:-} "
build=${BUILD:-$(mktemp -d)}
mkdir -p "$results" "$build"
lines=()
say() { lines+=("$(printf '%-34s %s' "$1" "$2")"); printf '%s: %s (%ss)\n' "$1" "$2" "$SECONDS"; }
wanted() { [[ $skip != *" $1 "* ]]; }
finish() {
  printf '\n=== gpu_check: %s\n' "$device"
  printf '%s\n' "${lines[@]}"
  exit "$failed"
}
failed=0

device="no GPU, or no nvcc: the back end runs on the emulator"
mode=EMULATED
options=()
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1 && command -v nvcc >/dev/null; then
  device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  [ "$capability" = 90 ] && capability=90a
  mode=ON
  options=("-DCMAKE_CUDA_ARCHITECTURES=$capability-real")
fi
echo "$device"

# One instruction set is enough for the processor's side.
isa=v2
grep -qw avx2 /proc/cpuinfo && isa=avx2
grep -qw avx512bw /proc/cpuinfo && isa=avx512
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
if ! cmake -S . -B "$build/cmake" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release \
  -DWENGERT_CUDA=$mode "${options[@]}" "-DWENGERT_ISAS=$isa" \
  "-DPython_EXECUTABLE=$(command -v "$python")" \
  "-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)" \
  "-Dnanobind_DIR=$("$python" -m nanobind --cmake_dir)" >"$build/configure.log" 2>&1 ||
  ! cmake --build "$build/cmake" -j "$jobs" >"$build/build.log" 2>&1; then
  tail -40 "$build/configure.log" "$build/build.log" 2>/dev/null
  say build FAILED
  failed=1
  finish
fi
cmake --install "$build/cmake" --prefix "$build/package" >/dev/null
cp -r python/wengert/. "$build/package/wengert/"
export PYTHONPATH="$build/package"
say build "done in ${SECONDS} s"
"$python" -c "import wengert as wg; wg.show_config()"

run() { # name, seconds at most, command...
  local name=$1 limit=$2 left=$((580 - SECONDS)) log
  shift 2
  ((left > 0)) || { say "$name" "left out: ten minutes are over"; failed=1; return; }
  ((limit < left)) || limit=$left
  log="$build/$(tr -c 'A-Za-z0-9\n' _ <<<"$name").log"
  timeout "$limit" "$@" >"$log" 2>&1
  local status=$?
  if [ $status = 0 ]; then
    say "$name" "$(tail -1 "$log")"
  else
    failed=1
    tail -60 "$log"
    say "$name" "FAILED ($status): $(grep -E 'passed|failed|Error' "$log" | tail -1)"
  fi
  cp "$log" "$results/" 2>/dev/null || true
}

if wanted tests; then
  parallel=()
  "$python" -c "import xdist" 2>/dev/null && parallel=(-n "$((jobs < 8 ? jobs : 8))")
  run "tests on the device" 240 "$python" -m pytest tests -q -m cuda -p no:cacheprovider \
    "${parallel[@]}"
fi
if wanted sanitizer && [ $mode = ON ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    run "compute-sanitizer $tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$python" tools/gpu_smoke.py
  done
fi
if wanted bench; then
  if [ $mode = ON ]; then
    today=$(date +%F)
    run "training steps" 150 "$python" bench/cuda/steps.py --out "$results/$today-cuda-steps.json"
    for bench in bench/cuda/*.py; do
      name=$(basename "$bench" .py)
      [ "$name" = steps ] || run "$name" 60 "$python" "$bench"
    done
    cat "$build/training_steps.log"
  else
    run "training steps" 120 "$python" bench/cuda/steps.py --device cpu --quick --rounds 1
  fi
fi
finish
