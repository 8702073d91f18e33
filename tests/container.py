"""What a container runtime does with an image, by util-linux alone: the image's own command, as its own user,
on a read-only root, in mount, process and network namespaces of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve_command import alive, descendants

_MOUNTS = """
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
for pair in $BINDS; do
    mount --bind "${pair%%:*}" "$root${pair#*:}"
    mount -o remount,bind,ro "$root${pair#*:}"
done
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o "mode=1777,nosuid,nodev,$TMP_EXEC" tmpfs "$root/tmp"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero urandom random; do
    touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=2g tmpfs "$root/dev/shm"
ip link set lo up
unset BINDS TMP_EXEC
exec chroot --userspec="$OWNER" "$root" setpriv --no-new-privs env -i "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its files, and what it says to run."""

    root: Path
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    user: str
    stop_signal: str
    health_check: tuple[str, ...]


def image_of(inspected: str, root: Path) -> Image:
    """Read what `buildah inspect` says of a container of Docker's format; `root` is where it is mounted."""
    config = json.loads(inspected)["Docker"]["config"]
    return Image(
        root,
        tuple(config["Entrypoint"]),
        tuple(config["Cmd"]),
        tuple(config["Env"]),
        config["User"],
        config["StopSignal"],
        tuple(config["Healthcheck"]["Test"][1:]),  # behind CMD
    )


@dataclass(frozen=True)
class Container:
    """An image's process, the first of its process namespace; `log` is what it writes."""

    pid: int
    launcher: subprocess.Popen[bytes]
    log: Path
    stop_signal: str

    def inside_its_network(self, *command: str) -> list[str]:
        """A command of the host, files and programs the host's, that runs in the container's network."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def check_health(self, image: Image) -> None:
        """Run the image's own health check beside it. Raises CalledProcessError unless that is content."""
        user, group = image.user.split(":")
        namespaces = ["--mount", "--net", "--pid", "--root", "--wd", "--setuid", user, "--setgid", group]
        inside = ["env", "-i", *image.environment, *image.health_check]
        subprocess.run(["nsenter", f"--target={self.pid}", *namespaces, *inside], check=True, timeout=60)

    def stop(self) -> None:
        """Ask it to end, as the image says how."""
        os.kill(self.pid, signal.Signals[self.stop_signal])


@contextmanager
def container(
    image: Image,
    log: Path,
    *,
    arguments: Sequence[str] | None = None,
    mounts: Mapping[str, Path] | None = None,
    network_of: Container | None = None,
    tmp_exec: bool = True,
) -> Iterator[Container]:
    """Run the image's entry point with its command, or with `arguments`, in a network of its own or
    another's.

    `mounts` are folders of the host by their place inside, read-only; without `tmp_exec`, no program may be
    started from /tmp, as in Docker unless asked. All its processes end with the context.
    """
    for place in mounts or {}:
        (image.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    inside = [*image.environment, *image.entrypoint, *(image.command if arguments is None else arguments)]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    launcher = ["sh", "-c", _MOUNTS, "sh", str(image.root), *inside]
    command = [*unshare, "--net", *launcher]
    if network_of is not None:
        command = network_of.inside_its_network(*unshare, *launcher)
    binds = " ".join(f"{host}:{place}" for place, host in (mounts or {}).items())
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            stdout=written,
            stderr=written,
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "BINDS": binds,
                "OWNER": image.user,
                "TMP_EXEC": "exec" if tmp_exec else "noexec",
            },
        )
    try:
        yield Container(_first_process(process, log), process, log, image.stop_signal)
    finally:
        everything = descendants(process.pid)
        process.kill()  # and the kernel the rest: unshare's child is the namespace's first process
        process.wait(60)
        deadline = time.monotonic() + 30
        while alive(everything) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(everything)


def _first_process(launcher: subprocess.Popen[bytes], log: Path) -> int:
    """The process id, outside, of the namespace's first process, once it is the image's."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() not in {"unshare", "sh"}:
            return int(children[0])
        assert launcher.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
