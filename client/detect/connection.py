"""The connection that command-line options and the environment describe."""

from __future__ import annotations

import argparse
import os

from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.detect_options import TOKEN_VARIABLE


def connection_from(args: argparse.Namespace, prefix: str = "") -> ConnectionOptions:
    """Return the connection of the options that `detect_options.security_options` declares with that prefix.

    Raises PermissionDenied for a token that no header can carry, and for a file that is missing or no PEM.
    """
    named = {
        name: getattr(args, f"{prefix}{name}".replace("-", "_")) for name in ("ca", "key", "certificate")
    }
    connection = ConnectionOptions(
        tls=getattr(args, f"{prefix}tls".replace("-", "_")),
        root_certificates=named["ca"],
        private_key=named["key"],
        certificate_chain=named["certificate"],
        token=os.environ.get(TOKEN_VARIABLE) or None,
        shared_memory_key=os.environ.get(SHARED_MEMORY_KEY_VARIABLE) or None,
    )
    connection.credentials()
    return connection
