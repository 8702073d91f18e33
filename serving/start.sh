#!/bin/sh
# What the image runs: engines for the GPU at hand where the repository has none, then Triton itself.
# Later steps of a clip go before new clips, as under `deepfake-triton serve`. Not held here is what `serve` does
# besides: checking the files against their record and its signature, closing model control, tracing, logging,
# shared memory and inference over HTTP to callers, finishing the clips in hand on SIGTERM, starting a Triton
# again that crashed or lost a step. Options of tritonserver that are passed on can close protocols.
set -eu
repository="${MODEL_REPOSITORY:-/models}"
if grep -qs '^backend: "tensorrt"' "$repository"/*/config.pbtxt; then
    deepfake-triton engine add "$repository"
fi
exec tritonserver --model-repository="$repository" --rate-limit=execution_count "$@"
