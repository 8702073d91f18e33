"""Triton's command line, except for the arguments that hold a secret (see access.py)."""

from __future__ import annotations

from collections.abc import Sequence

from deepfake_triton.serving.options import LOG_LEVELS, ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder

DRAIN_TIMEOUT_S = 30
SHARED_MEMORY_BYTES = 32 * 2**20
"""Initial size of a Python model's shared memory; it grows, but growing costs a request milliseconds."""
MIN_PING_INTERVAL_MS = 5000
"""Shortest interval at which a client may send keep-alive pings."""
CONNECTION_AGE_MS = 3_600_000
"""A gRPC connection is asked to close after this time, and closed after as long again."""


def public_arguments(
    options: ServerOptions, endpoints: ReservedEndpoints, folder: RuntimeFolder, *, models: Sequence[str]
) -> list[str]:
    """Return Triton's options that other users may read."""
    level = LOG_LEVELS.index(options.log_level)
    arguments = [
        f"--model-repository={folder.models}",
        f"--backend-directory={folder.backends}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in models),
        f"--grpc-address={endpoints.grpc.address.for_grpc}",
        f"--http-address={endpoints.http.address.for_http}",
        f"--metrics-address={endpoints.metrics.address.for_http}",
        f"--grpc-port={endpoints.grpc.port}",
        f"--http-port={endpoints.http.port}",
        f"--metrics-port={endpoints.metrics.port}",
        f"--exit-timeout-secs={DRAIN_TIMEOUT_S}",
        "--rate-limit=execution_count",  # as the configs order: later steps of a clip first
        f"--grpc-http2-min-recv-ping-interval-without-data={MIN_PING_INTERVAL_MS}",
        "--grpc-infer-allocation-pool-size=0",  # else eight of the largest requests stay in memory
        f"--grpc-max-connection-age={CONNECTION_AGE_MS}",
        f"--grpc-max-connection-age-grace={CONNECTION_AGE_MS}",  # a cancelled request can end Triton 2.51
        *_tls_arguments(options),
        f"--log-warning={level >= 1}".lower(),
        f"--log-info={level >= 2}".lower(),
        f"--log-verbose={int(level >= 3)}",
    ]
    for backend in ("python", "onnxruntime"):
        arguments.append(f"--backend-config={backend},shm-default-byte-size={SHARED_MEMORY_BYTES}")
        arguments.append(f"--backend-config={backend},shm-region-prefix-name={folder.shared_memory_prefix}")
    return arguments


def _tls_arguments(options: ServerOptions) -> list[str]:
    if options.tls_certificate is None or options.tls_key is None:
        return []
    files = {"server-cert": options.tls_certificate, "server-key": options.tls_key}
    if options.tls_client_ca:
        files["root-cert"] = options.tls_client_ca
    kind = "ssl-mutual" if options.tls_client_ca else "ssl"
    return [f"--grpc-use-{kind}=true", *(f"--grpc-{name}={path}" for name, path in files.items())]
