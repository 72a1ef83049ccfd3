#!/usr/bin/env bash
# Whatever only a GPU can prove, in one go: results/gpu.json and gpu.svg.
#
#   benchmarks/gpu.sh [--wheels DIR] [--out DIR] [--minutes 8]
#
# For a bare machine with CUDA's compiler, torch and no network: DIR holds the wheels that it lacks
# (onnx, onnxruntime, opencv-python, typer, rich, pydantic, safetensors, tensorrt or tensorrt-rtx with
# its libs) and pycuda's source, which is compiled here. Without --wheels they come from the network.
# Nothing is installed but into a temporary folder; the C code is built inside the checkout. A step
# that fails is written down, and the others go on.
set -euo pipefail
shopt -s nullglob

root=$(cd "$(dirname "$0")/.." && pwd)
wheels='' out="$root/benchmarks/results" minutes=8
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=$(realpath "$2") ;;
    --out) out=$(realpath "$2") ;;
    --minutes) minutes=$2 ;;
    *)
      echo "usage: $0 [--wheels DIR] [--out DIR] [--minutes N]" >&2
      exit 2
      ;;
  esac
  shift 2
done

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
  echo 'gpu.sh: needs a GPU and a torch that can use it (PYTHON=... names another Python)' >&2
  exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
site="$scratch/site" steps="$scratch/steps.jsonl"
export PYTHONPATH="$root:$site" PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export PATH="/usr/local/cuda/bin:$PATH"

# step NAME COMMAND...: runs it, and writes down how it ended.
step() {
  local name=$1 began=$SECONDS ok=true
  shift
  if ! "$@" > "$scratch/said" 2>&1; then
    ok=false
  fi
  "$python" - "$name" "$ok" "$((SECONDS - began))" "$scratch/said" >> "$steps" << 'EOF'
import json, pathlib, sys
name, ok, seconds, said = sys.argv[1:]
words = pathlib.Path(said).read_text(errors="replace").strip().splitlines()
told = "" if ok == "true" else " | ".join(words[-3:])[-600:]
print(json.dumps({"name": name, "ok": ok == "true", "seconds": float(seconds), "said": told}))
EOF
  echo "$name: $ok, $((SECONDS - began)) s"
}

lacks() { ! "$python" -c "import $1" 2> /dev/null; }

if [ -n "$wheels" ]; then
  for wheel in "$wheels"/*.whl; do
    step "install $(basename "$wheel")" "$python" -m pip install --quiet --no-index --no-deps \
      --no-compile --target "$site" "$wheel"
  done
  source=("$wheels"/pycuda-*.tar.gz)
else
  for pair in onnx:onnx onnxruntime:onnxruntime cv2:opencv-python typer:typer rich:rich \
    pydantic:pydantic safetensors:safetensors tensorrt:tensorrt tensorrt_rtx:tensorrt-rtx; do
    if lacks "${pair%%:*}"; then
      step "install ${pair##*:}" "$python" -m pip install --quiet --no-compile --target "$site" \
        "${pair##*:}"
    fi
  done
  source=(pycuda)
fi
if lacks pycuda && [ ${#source[@]} -eq 0 ]; then
  step 'compile pycuda' sh -c "echo 'neither a wheel nor a source of it in $wheels'; exit 1"
elif lacks pycuda; then
  quiet=(--quiet --no-compile --target "$site")
  [ -z "$wheels" ] || quiet+=(--no-index --find-links "$wheels" --no-deps --no-build-isolation)
  step 'compile pycuda' "$python" -m pip install "${quiet[@]}" "${source[0]}"
fi
cd "$root"
step 'compile the C code' "$python" -c 'from setuptools import setup; setup()' \
  build_ext --inplace --build-temp "$scratch/build"
"$python" benchmarks/gpu.py --steps "$steps" --out "$out" --minutes "$minutes" --spent "$SECONDS"
