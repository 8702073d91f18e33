"""Options of `deepfake-triton web`, and the settings of the gateway that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.cli_types import (
    addresses,
    duration_seconds,
    existing_file,
    host_names,
    integer,
    listening_host,
    own_names,
    port,
    size_bytes,
)
from deepfake_triton.commands import triton_address
from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.settings import GatewaySettings, Limits, Webhooks

TRITON_PREFIX = "triton-"
"""Of the options towards --url: `--tls-certificate` is the gateway's own."""
_DEFAULTS = Limits()
_MIN_SECRET = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "repository",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="model repository to serve (default: one of the default weights, made once in the user's cache)",
    )
    parser.add_argument(
        "--url",
        type=addresses,
        metavar="HOST:PORT[,…]",
        help="gRPC addresses of Tritons that run already; none is started",
    )
    triton_address.configure(parser, TRITON_PREFIX)
    parser.add_argument(
        "--host",
        type=listening_host,
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: every one of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=port,
        default=8080,
        metavar="PORT",
        help="of the page and REST; 0: the system chooses a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--grpc-port",
        type=port,
        default=8081,
        metavar="PORT",
        help="of gRPC for video files; 0: the system chooses a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="folder for uploads while they are judged (default: the system's for temporary files)",
    )
    _configure_limits(parser.add_argument_group("limits"))
    _configure_access(parser.add_argument_group("who may ask"))
    _configure_outgoing(parser.add_argument_group("addresses that the gateway asks itself (default: none)"))
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="log every request to stderr: method, route, status, time, X-Request-ID; no file and no job",
    )
    parser.add_argument(
        "--c2pa-trust",
        type=existing_file,
        metavar="PEM",
        help="certificate authorities whose Content Credentials are trusted (default: none)",
    )
    _configure_tracing(parser.add_argument_group("tracing"))


def _configure_tracing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trace-endpoint",
        metavar="URL",
        help="OpenTelemetry collector to which spans of jobs and requests are sent (OTLP over HTTP), such as "
        "http://localhost:4318/v1/traces; a Triton that is started here sends its own there too (default: "
        "none)",
    )
    group.add_argument(
        "--trace-rate",
        type=integer(1),
        default=1000,
        metavar="N",
        help="trace one of N jobs (default: %(default)s), beside those with a caller's traceparent",
    )


def _configure_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-upload",
        type=size_bytes,
        default="2G",
        metavar="SIZE",
        help="largest file (default: %(default)s)",
    )
    group.add_argument(
        "--spool-size",
        type=size_bytes,
        metavar="SIZE",
        help="most that uploads may take in --spool (default: what the disk has free, but 256 MiB)",
    )
    group.add_argument(
        "--max-duration",
        type=duration_seconds,
        default="4h",
        metavar="TIME",
        help="longest video (default: %(default)s)",
    )
    group.add_argument(
        "--retention",
        type=duration_seconds,
        default="10m",
        metavar="TIME",
        help="how long an ended job can be asked for, its preview included (default: %(default)s)",
    )
    group.add_argument(
        "--jobs",
        type=integer(1),
        default=_DEFAULTS.max_running,
        metavar="N",
        help="videos judged at once (default: the number of CPU cores, 2 to 8)",
    )
    group.add_argument(
        "--max-queue",
        type=integer(0),
        default=_DEFAULTS.max_queued,
        metavar="N",
        help="videos that wait; one more is refused (default: %(default)s)",
    )


def _configure_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="hashed API keys, one a line; required where --host is not loopback",
    )
    group.add_argument(
        "--no-api-keys", action="store_true", help="let anyone who reaches --host ask, without a key"
    )
    group.add_argument(
        "--new-api-key", metavar="NAME", help="add a key of that name to --api-keys, print it once, and end"
    )
    group.add_argument(
        "--tls-certificate",
        type=existing_file,
        metavar="PEM",
        help="certificate of the gateway, with its chain",
    )
    group.add_argument("--tls-key", type=existing_file, metavar="PEM", help="private key of the gateway")
    group.add_argument(
        "--allow-host",
        type=own_names,
        default=(),
        metavar="NAME[,…]",
        help="names by which callers may address the gateway, beside --host",
    )


def _configure_outgoing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--allow-url-hosts",
        type=host_names,
        default=(),
        metavar="HOST[,…]",
        help="hosts from which a caller may have a video fetched by its https URL; *.example.org: one label "
        "more, HOST:PORT: another port",
    )
    group.add_argument(
        "--webhook-url", metavar="URL", help="address that is told of every job that has ended"
    )
    group.add_argument(
        "--allow-webhook-hosts",
        type=host_names,
        default=(),
        metavar="HOST[,…]",
        help="hosts of which a caller may name an address in the header Webhook-URL",
    )
    group.add_argument(
        "--webhook-secret",
        type=existing_file,
        metavar="FILE",
        help="key of the webhooks' signatures: text of 24 characters or more",
    )


def settings_from(args: argparse.Namespace) -> GatewaySettings:
    """Return the settings; without --url, they have no Triton yet. Raises InvalidOption, PermissionDenied."""
    return GatewaySettings(
        urls=args.url or (),
        connection=triton_address.connection_to_url(args, TRITON_PREFIX),
        host=args.host,
        port=args.port,
        grpc_port=args.grpc_port,
        limits=Limits(
            max_upload_bytes=args.max_upload,
            max_duration_seconds=args.max_duration,
            retention_s=args.retention,
            max_running=args.jobs,
            max_queued=args.max_queue,
            spool_bytes=args.spool_size,
        ),
        spool=args.spool,
        api_keys=args.api_keys,
        allow_no_keys=args.no_api_keys,
        tls_certificate=args.tls_certificate,
        tls_key=args.tls_key,
        allowed_hosts=args.allow_host,
        url_hosts=args.allow_url_hosts,
        webhooks=_webhooks(args),
        c2pa_trust=args.c2pa_trust,
        trace_endpoint=args.trace_endpoint,
        trace_rate=args.trace_rate,
    )


def _webhooks(args: argparse.Namespace) -> Webhooks | None:
    """Raises InvalidOption for an address without a secret, a weak secret, or a secret without use."""
    wanted = args.webhook_url or args.allow_webhook_hosts
    if not wanted and not args.webhook_secret:
        return None
    if not wanted or not args.webhook_secret:
        raise InvalidOption("--webhook-secret belongs to --webhook-url or --allow-webhook-hosts; name both")
    try:
        secret = args.webhook_secret.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"--webhook-secret {args.webhook_secret}: cannot be read: {error}") from error
    if len(secret) < _MIN_SECRET:
        raise InvalidOption(
            f"--webhook-secret {args.webhook_secret}: got {len(secret)} characters, expected {_MIN_SECRET} "
            "or more; make one with: openssl rand -base64 32"
        )
    return Webhooks(secret, args.webhook_url, args.allow_webhook_hosts)
