#!/bin/sh
# What the image runs: engines for the GPU at hand where the repository has none, then Triton.
set -eu
repository="${MODEL_REPOSITORY:-/models}"
if grep -qs '^backend: "tensorrt"' "$repository"/*/config.pbtxt; then
    deepfake-triton engine add "$repository"
fi
exec tritonserver --model-repository="$repository" "$@"
