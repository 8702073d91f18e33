"""Hot reload: a running server switches versions over its model-repository API."""

from __future__ import annotations

import time

from deepfake_triton.errors import ServerFailed, ServerUnreachable
from deepfake_triton.serving.http_api import HttpApi

LOAD_TIMEOUT_S = 300.0
IDLE_TIMEOUT_S = 120.0
_POLL_S = 0.05


class LiveServer:
    """A running server with explicit model control, by the address of its HTTP port."""

    def __init__(self, address: str) -> None:
        """Check that a Triton answers there. Raises ServerUnreachable."""
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise ServerUnreachable(f"--http: got {address!r}, expected HOST:PORT such as localhost:8000")
        self.address = address
        self._http = HttpApi(host.strip("[]") or "localhost", int(port), secret="", timeout_s=LOAD_TIMEOUT_S)
        if not self._http.is_live():
            raise ServerUnreachable(f"{address}: no Triton answers there")

    def reload(self, model: str) -> None:
        """Reload a model's config and versions. Raises ServerFailed with the server's reason."""
        if reason := self._http.load(model):
            raise ServerFailed(
                f"{self.address}: {model} was not loaded: {reason}; model control has to be explicit"
            )

    def loaded(self, model: str) -> set[int]:
        """Return the versions of a model that are ready, or still drain. Raises ServerUnreachable."""
        return self._http.versions(model, ("READY", "UNLOADING"))

    def wait_until_drained(self, model: str, version: int) -> None:
        """Wait until every other version of the model is drained. Raises ServerFailed, ServerUnreachable."""
        deadline = time.monotonic() + IDLE_TIMEOUT_S
        while others := self.loaded(model) - {version}:
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.address}: {model} {min(others)} still works after {IDLE_TIMEOUT_S:g} s; run this "
                    "again to finish"
                )
            time.sleep(_POLL_S)
