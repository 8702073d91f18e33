"""The few calls of Triton's HTTP protocol that starting and stopping a server need."""

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
    """A server's HTTP port, and what opens the parts of its API that are closed to others."""

    host: str
    port: int
    secret: str = field(repr=False)
    timeout_s: float = 5.0

    SECRET_HEADER = "deepfake-triton-secret"

    def is_live(self) -> bool:
        """Whether a Triton answers there, also while it loads or drops a model."""
        return self._call("GET", "/v2/health/live")[0] == http.HTTPStatus.OK

    def is_ready(self) -> bool:
        """Whether Triton says that it and all its models are ready; not while it loads or drops one."""
        return self._call("GET", "/v2/health/ready")[0] == http.HTTPStatus.OK

    def loaded_ensembles(self) -> set[str] | None:
        """Ensembles that are served, and models that are finishing their requests; None without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            return None
        states = {(entry["name"], entry.get("state")) for entry in index}
        unloading = {name for name, state in states if state == "UNLOADING"}
        return unloading | {name for name, state in states if state == "READY" and self._is_ensemble(name)}

    def loaded_models(self) -> set[str] | None:
        """Models that are ready; None without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            return None
        return {entry["name"] for entry in index if entry.get("state") == "READY"}

    def unload(self, model: str) -> None:
        """Take no further requests for `model`, and finish those that it has."""
        self._call("POST", f"/v2/repository/models/{model}/unload")

    def load(self, model: str) -> tuple[int, Any]:
        """Load `model`, or its changed config and versions; status and JSON of the answer."""
        return self._call("POST", f"/v2/repository/models/{model}/load")

    def versions(self, model: str, states: tuple[str, ...]) -> set[int]:
        """Versions of a model that are in one of these states. Raises ServerUnreachable without an answer."""
        status, index = self._call("POST", "/v2/repository/index")
        if status != http.HTTPStatus.OK:
            raise ServerUnreachable(f"{self.host}:{self.port}: its index of models cannot be read ({status})")
        mine = (entry for entry in index if entry["name"] == model and entry.get("state") in states)
        return {int(entry["version"]) for entry in mine}

    def shared_regions(self) -> list[str]:
        """Names of the system shared memory that clients have registered; none without an answer."""
        status, regions = self._call("GET", "/v2/systemsharedmemory/status")
        return [region["name"] for region in regions] if status == http.HTTPStatus.OK else []

    def unregister(self, region: str) -> None:
        """Close a region, unless a request uses it."""
        self._call("POST", f"/v2/systemsharedmemory/region/{region}/unregister")

    def _is_ensemble(self, model: str) -> bool:
        status, config = self._call("GET", f"/v2/models/{model}/config")
        return status == http.HTTPStatus.OK and config.get("platform") == "ensemble"

    def _call(self, method: str, path: str) -> tuple[int, Any]:
        """Status and JSON of a call; status 0 when nobody answers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, headers={self.SECRET_HEADER: self.secret})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body else None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            if connection.sock:  # interrupted, its answer would keep the socket open, and Triton from ending
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
