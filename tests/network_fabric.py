"""The process behind `network_hosts`: network namespaces, and links that delay packets and lose some.

Each host is a namespace without a name, with one TUN device; packets are read from one and written to
another. Reads a line for each host (its address) and answers with the number of the descriptor that holds its
namespace; a line of `count` is answered with the packets that were passed on and those that were lost. Ends
with its standard input, and the kernel takes devices and namespaces with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time

NEW_NETWORK = 0x40000000
SET_INTERFACE, TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
DEATH_SIGNAL = 1
MTU = 9000
PACKETS_AT_ONCE = 64

libc = ctypes.CDLL(None, use_errno=True)


class Fabric:
    """The hosts by their address, and the packets on their way."""

    def __init__(self, delay_s: float, loss: float, seed: int) -> None:
        self.delay_s, self.loss = delay_s, loss
        self.draw = random.Random(seed)
        self.devices: dict[bytes, int] = {}
        self.on_their_way: list[tuple[float, int, int, bytes]] = []
        self.passed = self.lost = 0

    def add(self, address: str) -> int:
        """Make a host; return the descriptor of its namespace."""
        if libc.unshare(NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "no network namespace")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, SET_INTERFACE, struct.pack("16sH22x", b"eth0", TUN_WITHOUT_HEADER))
        for words in ("link set lo up", f"addr add {address}/16 dev eth0", f"link set eth0 mtu {MTU} up"):
            subprocess.run(["ip", *words.split()], check=True)
        self.devices[socket.inet_aton(address)] = device
        return os.open("/proc/self/ns/net", os.O_RDONLY)

    def take(self, device: int) -> None:
        """Take the packets that a host sends."""
        due_s = time.monotonic() + self.delay_s
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(device, 65536)
            except BlockingIOError:
                return
            target = self.devices.get(packet[16:20])
            if packet[0] >> 4 != 4 or target is None:
                continue
            if self.draw.random() < self.loss:
                self.lost += 1
                continue
            self.passed += 1
            heapq.heappush(self.on_their_way, (due_s, self.passed, target, packet))

    def deliver(self) -> float | None:
        """Hand over what is due; return the time until the next packet."""
        while self.on_their_way:
            remaining_s = self.on_their_way[0][0] - time.monotonic()
            if remaining_s > 0:
                return remaining_s
            _, _, target, packet = heapq.heappop(self.on_their_way)
            try:
                os.write(target, packet)
            except BlockingIOError:
                self.lost += 1  # its queue is full
        return None


def main(delay_ms: str, loss_percent: str, seed: str) -> None:
    """Pass packets on until standard input ends."""
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL)
    fabric = Fabric(float(delay_ms) / 1000, float(loss_percent) / 100, int(seed))
    commands = b""
    with selectors.DefaultSelector() as ready:
        ready.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select(fabric.deliver()):
                if key.fd != 0:
                    fabric.take(key.fd)
                    continue
                if not (data := os.read(0, 4096)):
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    if line == b"count":
                        print(fabric.passed, fabric.lost, flush=True)
                        continue
                    print(fabric.add(line.decode()), flush=True)
                    ready.register(list(fabric.devices.values())[-1], selectors.EVENT_READ)


if __name__ == "__main__":
    main(*sys.argv[1:])
