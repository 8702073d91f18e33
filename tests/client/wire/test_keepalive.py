"""Pings of a connection, to a server that is stopped after it has answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import grpc
import pytest

from deepfake_triton.client.wire.connection_options import ConnectionOptions

pytestmark = pytest.mark.compute
SERVER = """
import grpc
from concurrent.futures import ThreadPoolExecutor

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Echo(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


@pytest.mark.parametrize(
    ("keepalive_s", "code"),
    [(1.0, grpc.StatusCode.UNAVAILABLE), (None, grpc.StatusCode.DEADLINE_EXCEEDED)],
)
def test_a_server_that_hangs_is_given_up(keepalive_s: float | None, code: grpc.StatusCode) -> None:
    """Without pings the call waits for its own time-out."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"127.0.0.1:{int(server.stdout.readline())}"
            with ConnectionOptions(keepalive_s=keepalive_s).channel(url) as channel:
                echo = channel.unary_unary("/any/Echo")
                assert echo(b"here", timeout=60) == b"here"
                os.kill(server.pid, signal.SIGSTOP)
                with pytest.raises(grpc.RpcError) as raised:
                    echo(b"still here?", timeout=50 if keepalive_s else 3)
                assert raised.value.code() is code
        finally:
            server.kill()
