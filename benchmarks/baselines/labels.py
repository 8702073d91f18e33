"""The names of the compared paths, as reports show them."""

from __future__ import annotations

REFERENCE = "this server, automatic transport"
DETECT = "detect on a folder, 8 jobs"
TORCH = "one process, torch eager"
PROCESS = "one process, same runtime"
PROCESS_BATCHES = "one process, same runtime, four clips a batch"
FASTAPI = "FastAPI"
FASTAPI_BATCHING = "FastAPI, micro-batching"
PUBLISHED = "published pipeline"
PUBLISHED_KEPT = "published pipeline, model kept"
