"""A server that dies in a test stands again for the next."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from standing_servers import standing_server, start_dead_servers_again

from deepfake_triton.serving.http_api import HttpApi


@pytest.mark.triton
def test_a_server_that_died_is_started_again_on_its_ports(small_repository: Path) -> None:
    with standing_server(small_repository) as server:
        start_dead_servers_again()  # none is
        died, url = server.process, server.url
        died.send_signal(signal.SIGKILL)
        assert died.wait() == -signal.SIGKILL
        with pytest.warns(UserWarning, match="ended with -9: starting it again"):
            start_dead_servers_again()
        assert server.url == url and server.process.poll() is None
        assert HttpApi("127.0.0.1", server.http_port, server.access.secret).is_ready()
