"""The calls of Triton's HTTP protocol that are needed to start, watch, reload and stop a server."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import Any

from deepfake_triton.errors import ServerUnreachable


@dataclass(frozen=True)
class HttpApi:
    """A server's HTTP port; `secret` opens the endpoints that are closed to others."""

    host: str
    port: int
    secret: str = field(repr=False)
    timeout_s: float = 5.0

    SECRET_HEADER = "deepfake-triton-secret"

    def is_live(self) -> bool:
        """Whether a Triton answers there, also while it loads or unloads a model."""
        return self._call("GET", "/v2/health/live")[0] == http.HTTPStatus.OK

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready; not while it loads or unloads one."""
        return self._call("GET", "/v2/health/ready")[0] == http.HTTPStatus.OK

    def loaded_ensembles(self) -> set[str] | None:
        """Return the ready ensembles and the models that still drain; None without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            return None
        states = {(entry["name"], entry.get("state")) for entry in index}
        unloading = {name for name, state in states if state == "UNLOADING"}
        return unloading | {name for name, state in states if state == "READY" and self._is_ensemble(name)}

    def loaded_models(self) -> set[str] | None:
        """Return the models that are ready; None without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            return None
        return {entry["name"] for entry in index if entry.get("state") == "READY"}

    def unload(self, model: str) -> None:
        """Have a model refuse new requests, and finish those that it has."""
        self._call("POST", f"/v2/repository/models/{model}/unload")

    def load(self, model: str) -> str | None:
        """Load a model, or its changed config and versions; return None, or why it was not loaded."""
        status, answer = self._call("POST", f"/v2/repository/models/{model}/load")
        if status == http.HTTPStatus.OK:
            return None
        return str(answer.get("error") or answer) if isinstance(answer, dict) else "it does not answer"

    def versions(self, model: str, states: tuple[str, ...]) -> set[int]:
        """Return the versions of a model in these states. Raises ServerUnreachable without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            raise ServerUnreachable(f"{self.host}:{self.port}: its index of models cannot be read ({status})")
        entries = (entry for entry in index if entry["name"] == model and entry.get("state") in states)
        return {int(entry["version"]) for entry in entries}

    def shared_regions(self) -> list[str]:
        """Return the names of the shared-memory regions that clients registered; none without an answer."""
        status, regions = self._call("GET", "/v2/systemsharedmemory/status")
        return [region["name"] for region in regions] if status == http.HTTPStatus.OK else []

    def unregister(self, region: str) -> None:
        """Unregister a shared-memory region, unless a request uses it."""
        self._call("POST", f"/v2/systemsharedmemory/region/{region}/unregister")

    def _is_ensemble(self, model: str) -> bool:
        status, config = self._call("GET", f"/v2/models/{model}/config")
        return status == http.HTTPStatus.OK and config.get("platform") == "ensemble"

    def _call(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and JSON of the response; status 0 without one."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, headers={self.SECRET_HEADER: self.secret})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body else None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            if connection.sock:  # else an unread response would keep it open, and Triton from ending
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
