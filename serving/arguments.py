"""Triton's command line, except for the arguments that hold a secret (see access.py)."""

from __future__ import annotations

from collections.abc import Sequence

from deepfake_triton.contracts import COMPUTE_RESOURCE
from deepfake_triton.serving.installation.base import Installation
from deepfake_triton.serving.options import LOG_LEVELS, ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder

DRAIN_TIMEOUT_S = 30
SHARED_MEMORY_BYTES = 96 * 2**20
"""Initial size of a Python model's shared memory, three clips of 20 frames of 640x640: it holds a request
beside the one before. It grows with larger ones, but under load that can end Triton 2.51 (server#8882). Pages
that no request has used cost no memory."""
MIN_PING_INTERVAL_MS = 5000
"""Shortest interval at which a client may send keep-alive pings."""
MAX_HTTP_BYTES = 2**27
"""Largest request over HTTP, where Triton asks for a limit: the longest clip has 79 MB."""
GPU_TURNS = 64
"""Instances of networks that may compute at once on GPUs: more than a repository has."""
SPANS_DELAY_MS = 1000
"""Spans of as long are lost with a Triton that dies."""
CONNECTION_AGE_MS = 3_600_000
"""A gRPC connection is asked to close after this time, and closed after as long again."""


def public_arguments(
    options: ServerOptions,
    endpoints: ReservedEndpoints,
    folder: RuntimeFolder,
    *,
    models: Sequence[str],
    installation: Installation,
) -> list[str]:
    """Return Triton's options that other users may read; write the backend folder where it takes one of ours.

    Raises InvalidInstallation where this version lacks one that is needed, MissingDependency.
    """
    level = LOG_LEVELS.index(options.log_level)
    arguments = [
        f"--model-repository={folder.models}",
        f"--backend-directory={installation.backend_folder(folder.backends)}",
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
        *_compute_arguments(installation),
        f"--grpc-http2-min-recv-ping-interval-without-data={MIN_PING_INTERVAL_MS}",
        "--grpc-infer-allocation-pool-size=0",  # else eight of the largest requests stay in memory
        f"--grpc-max-connection-age={CONNECTION_AGE_MS}",
        f"--grpc-max-connection-age-grace={CONNECTION_AGE_MS}",  # a cancelled request can end Triton 2.51
        f"--http-max-input-size={MAX_HTTP_BYTES}",
        *_tls_arguments(options),
        *_trace_arguments(options),
        f"--log-warning={level >= 1}".lower(),
        f"--log-info={level >= 2}".lower(),
        f"--log-verbose={int(level >= 3)}",
    ]
    for backend in installation.python_backends():
        arguments.append(f"--backend-config={backend},shm-default-byte-size={SHARED_MEMORY_BYTES}")
        arguments.append(f"--backend-config={backend},shm-region-prefix-name={folder.shared_memory_prefix}")
    return installation.accepted(arguments)


def _compute_arguments(installation: Installation) -> list[str]:
    """Let all networks compute at once on a GPU, which would wait while one of them copies; on a CPU, they
    take turns."""
    return [f"--rate-limit-resource={COMPUTE_RESOURCE}:{GPU_TURNS}"] if installation.serves_on_gpu() else []


def _trace_arguments(options: ServerOptions) -> list[str]:
    """Have Triton send OpenTelemetry spans of an ensemble and its steps."""
    if options.trace_endpoint is None:
        return []
    settings = (
        *("mode=opentelemetry", "level=TIMESTAMPS", f"rate={options.trace_rate}"),
        f"opentelemetry,url={options.trace_endpoint}",
        "opentelemetry,resource=service.name=deepfake-triton",
        f"opentelemetry,bsp_schedule_delay={SPANS_DELAY_MS}",
    )
    return [f"--trace-config={setting}" for setting in settings]


def _tls_arguments(options: ServerOptions) -> list[str]:
    if options.tls_certificate is None or options.tls_key is None:
        return []
    files = {"server-cert": options.tls_certificate, "server-key": options.tls_key}
    if options.tls_client_ca:
        files["root-cert"] = options.tls_client_ca
    kind = "ssl-mutual" if options.tls_client_ca else "ssl"
    return [f"--grpc-use-{kind}=true", *(f"--grpc-{name}={path}" for name, path in files.items())]
