"""The names of a cluster in tests: a DNS server that answers with the addresses of whoever is ready."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from network_hosts import Host, Network

TTL_S = 2
"""How long an answer may be kept; CoreDNS says 30."""
DOMAIN = "cluster.local"
_ADDRESS, _NO_SUCH_NAME = 1, 3


@dataclass
class Names:
    """Addresses by the full name of their Service. Usable from many threads."""

    host: Host
    addresses: dict[str, list[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, address: str) -> None:
        """Add an endpoint of a Service, named without the cluster's domain."""
        with self.lock:
            self.addresses.setdefault(f"{name}.{DOMAIN}", []).append(address)

    def remove(self, name: str, address: str) -> None:
        """Remove it again, if it is there."""
        with self.lock, contextlib.suppress(ValueError):
            self.addresses[f"{name}.{DOMAIN}"].remove(address)

    def addresses_of(self, name: str) -> list[str]:
        """Return the endpoints of a Service."""
        with self.lock:
            return list(self.addresses.get(f"{name}.{DOMAIN}", ()))

    def resolver_file(self, path: Path, namespace: str) -> Path:
        """Write /etc/resolv.conf of a pod, as kubelet does."""
        search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
        path.write_text(f"nameserver {self.host.address}\nsearch {search}\noptions ndots:5\n")
        return path

    def answer(self, question: bytes) -> bytes:
        """The answer to a packet with one question."""
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        (kind,) = struct.unpack_from("!H", question, at + 1)
        name = ".".join(labels)
        with self.lock:
            is_known = name in self.addresses
            found = list(self.addresses.get(name, ())) if kind == _ADDRESS else []
        random.shuffle(found)
        flags = 0x8580 if is_known else 0x8580 | _NO_SUCH_NAME
        header = question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        records = b"".join(
            struct.pack("!HHHIH", 0xC00C, _ADDRESS, 1, TTL_S, 4) + socket.inet_aton(address)
            for address in found
        )
        return header + question[12 : at + 5] + records


@contextmanager
def cluster_names(network: Network) -> Iterator[Names]:
    """A DNS server on a host of its own."""
    host = network.host()

    def listen() -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listening.bind((host.address, 53))
        listening.settimeout(0.2)
        return listening

    names, stopping = Names(host), threading.Event()
    with host.do(listen) as listening:

        def serve() -> None:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    question, asker = listening.recvfrom(4096)
                    listening.sendto(names.answer(question), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield names
        finally:
            stopping.set()
            thread.join()
