"""Switch gRPC's fork handlers off, before anything imports gRPC: tests fork beside its threads."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
