#!/usr/bin/env bash
# The three networks on the GPU at hand: torch eager, torch.compile, ONNX Runtime CUDA and, where it supports
# the GPU, TensorRT-RTX, at batch 1…256 in FP32 and FP16. Writes build/benchmarks/gpu.json, .md and .svg.
#
#   benchmarks/gpu.sh [OPTION…]     options of `deepfake-triton bench gpu --help`
#
# PYTHON names an environment that is ready, with onnxruntime-gpu and the extras export, bench and tensorrt-rtx;
# without it, .venv-gpu is made: ONNX Runtime for CUDA and for OpenVINO own the same files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader; then
  echo "error: nvidia-smi finds no GPU here" >&2
  exit 1
fi
if [ -z "${PYTHON:-}" ]; then
  PYTHON=.venv-gpu/bin/python
  if [ ! -e .venv-gpu/.installed ]; then
    "$(command -v python3.11 || command -v python3)" -m venv .venv-gpu
    "$PYTHON" -m pip install --quiet --constraint constraints.txt --editable '.[bench,tensorrt-rtx]' 'onnxruntime-gpu>=1.19,<2'
    touch .venv-gpu/.installed
  fi
fi
repository="$(mktemp -d)/repository"
trap 'rm -rf "$(dirname "$repository")"' EXIT
"$PYTHON" -m deepfake_triton.cli export --output "$repository"
"$PYTHON" -m deepfake_triton.cli bench gpu "$repository" "$@"
