#!/bin/sh
# Entry point of the image: builds TensorRT engines for this GPU where the repository has none, then runs Triton.
# Later steps of a clip go before new clips, as under `deepfake-triton serve`. Beyond that, `serve` checks the
# files against their record and its signature, closes model control, tracing, logging, shared memory and
# inference over HTTP to callers, drains on SIGTERM, and restarts a Triton that crashed or lost a step; this
# script does not. Options are passed on to tritonserver, and can restrict protocols.
set -eu
repository="${MODEL_REPOSITORY:-/models}"
if grep -qs '^backend: "tensorrt"' "$repository"/*/config.pbtxt; then
    deepfake-triton engine add "$repository"
fi
exec tritonserver --model-repository="$repository" --rate-limit=execution_count "$@"
