"""Options about Tritons that run already, for the commands that otherwise start their own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deepfake_triton.detect_options import security_options
from deepfake_triton.errors import InvalidOption
from deepfake_triton.host.addresses import is_loopback, split_host_port

if TYPE_CHECKING:
    from deepfake_triton.client.wire.connection_options import ConnectionOptions


def configure(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Declare the options of encryption towards --url; `prefix` such as `triton-` stands before each name."""
    security_options(parser, prefix, "encryption and permission towards --url")
    parser.add_argument(
        "--allow-plaintext",
        action="store_true",
        help="send frames to --url on other hosts without encryption, as in a network that is trusted",
    )


def connection_to_url(args: argparse.Namespace, prefix: str = "") -> ConnectionOptions | None:
    """Return the connection to --url; None without it.

    Raises InvalidOption for options that need --url, and for an address of another host to which frames would
    go unencrypted; PermissionDenied for files and tokens that cannot be used.
    """
    names = [f"{prefix}{name}" for name in ("tls", "ca", "key", "certificate")] + ["allow-plaintext"]
    if not args.url:
        if useless := [f"--{name}" for name in names if getattr(args, name.replace("-", "_"))]:
            raise InvalidOption(
                f"{', '.join(useless)}: without --url, Triton is this command's own; name both"
            )
        return None
    from deepfake_triton.client.detect.connection import connection_from

    connection = connection_from(args, prefix)
    exposed = [url for url in args.url if not is_loopback(split_host_port(url)[0])]
    if exposed and not connection.encrypts and not args.allow_plaintext:
        raise InvalidOption(
            f"--url {','.join(exposed)}: frames would go there unencrypted; say --{prefix}tls or "
            f"--{prefix}ca FILE, or, where that network is trusted, --allow-plaintext"
        )
    return connection
