"""Pods of the chart as processes: their container's own command in namespaces of its own, on a host of a
test's network, started, probed and ended as kubelet does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster_names import Names
from deploy_tools import Manifest, pod_spec
from network_hosts import Host, Network
from paths import ROOT
from serve_command import alive, descendants

_ROOT_SCRIPT = """
set -eu
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
for entry in /*; do
    case $entry in
        /tmp | /proc) ;;
        *) if [ -L "$entry" ]; then cp -P "$entry" "$root/"
           elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"; fi ;;
    esac
done
mkdir -p "$root/tmp" "$root/proc"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for pair in $BINDS; do
    from=${pair%%:*}; to=$root${pair#*:}
    if [ -d "$from" ]; then mkdir -p "$to"; elif [ ! -e "$to" ]; then mkdir -p "${to%/*}"; touch "$to"; fi
    mount --bind "$from" "$to"
done
for folder in $FOLDERS; do mkdir -p "$root$folder"; done
unset BINDS FOLDERS
exec chroot "$root" "$@"
"""


@dataclass
class Cluster:
    """What pods share: network, names, a place for logs, and the namespace of the release."""

    network: Network
    names: Names
    folder: Path
    namespace: str = "video"
    pods: list[Pod] = field(default_factory=list)

    @property
    def processes(self) -> set[int]:
        """Those of all pods that still run."""
        return alive({pid for pod in self.pods for pid in (pod.process.pid, *descendants(pod.process.pid))})


@dataclass
class Pod:
    """A container's process on a host of its own; `service` is whose endpoint it is while it is ready."""

    name: str
    host: Host
    manifest: Manifest
    service: str
    process: subprocess.Popen[bytes]
    log: Path
    names: Names
    is_leaving: threading.Event = field(default_factory=threading.Event)

    @property
    def container(self) -> Manifest:
        """The pod's one container."""
        (found,) = pod_spec(self.manifest)["containers"]
        made: Manifest = found
        return made

    @property
    def pid(self) -> int:
        """The container's first process, as the host numbers it."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def url(self, port: int | str, path: str) -> str:
        """An address of it; ports may be named as in the manifest."""
        by_name = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        return f"http://{self.host.address}:{by_name.get(port, port)}{path}"

    def is_ready(self) -> bool:
        """What its readiness probe finds."""
        probe = self.container["readinessProbe"]
        get = probe["httpGet"]
        try:
            self.host.get(self.url(get["port"], get["path"]), probe["timeoutSeconds"])
        except (OSError, ValueError):
            return False
        return True

    def watch_readiness(self) -> None:
        """Keep it among the endpoints while its probe is content, until it leaves."""
        probe, failures, is_endpoint = self.container["readinessProbe"], 0, True
        while not self.is_leaving.wait(probe["periodSeconds"]):
            failures = 0 if self.is_ready() else failures + 1
            if failures == 0 and not is_endpoint:
                self.names.add(self.service, self.host.address)
                is_endpoint = True
            if failures >= probe["failureThreshold"] and is_endpoint:
                self.names.remove(self.service, self.host.address)
                is_endpoint = False

    def wait_until_ready(self, timeout_s: float = 300) -> None:
        """Return once its probe is content. Raises AssertionError, with its log, if it ends."""
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.3)

    def join_service(self) -> None:
        """Become an endpoint of its Service."""
        self.names.add(self.service, self.host.address)
        threading.Thread(target=self.watch_readiness, daemon=True).start()

    def leave(self) -> None:
        """Be no endpoint of its Service any more."""
        self.is_leaving.set()
        self.names.remove(self.service, self.host.address)

    def end(self) -> None:
        """End it as kubelet does: out of the endpoints, preStop, SIGTERM.

        It has to end in good order within its grace period.
        """
        grace_s = pod_spec(self.manifest)["terminationGracePeriodSeconds"]
        deadline = time.monotonic() + grace_s
        self.leave()
        hook = self.container["lifecycle"]["preStop"]
        if "sleep" in hook:
            time.sleep(hook["sleep"]["seconds"])
        else:
            inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root", "--wd"]
            subprocess.run([*inside, *hook["exec"]["command"]], check=True, capture_output=True)
        os.kill(self.pid, signal.SIGTERM)
        assert self.process.wait(deadline - time.monotonic()) == 0, self.log.read_text()

    def signal_all(self, number: signal.Signals) -> None:
        """Signal its processes, all of them."""
        for pid in sorted(descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def start_pod(
    cluster: Cluster,
    name: str,
    manifest: Manifest,
    *,
    service: str,
    command: Sequence[str],
    binds: dict[str, Path],
) -> Pod:
    """Start a pod's container: `command` is the image's entry point, `binds` are files and folders of this
    machine by their place inside."""
    host = cluster.network.host()
    root, log = cluster.folder / name, cluster.folder / f"{name}.log"
    root.mkdir()
    (container,) = pod_spec(manifest)["containers"]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    own = {
        str(path): path
        for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix))
        if path.is_relative_to("/tmp")
    }
    resolver = cluster.names.resolver_file(cluster.folder / f"{name}.resolv.conf", cluster.namespace)
    all_binds = {**own, **binds, "/etc/resolv.conf": resolver}
    variables = {each["name"]: each["value"] for each in container.get("env", ())}
    inside = ["env", "-i", "PATH=/usr/bin:/bin", *(f"{key}={value}" for key, value in variables.items())]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [
                *host.entering(),
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", _ROOT_SCRIPT, "sh", str(root)),
                *(*inside, *command, *container["args"]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env={
                "PATH": os.environ["PATH"],
                "BINDS": " ".join(f"{source}:{place}" for place, source in all_binds.items()),
                "FOLDERS": " ".join(place for place in writable if place not in {"/dev/shm", "/tmp"}),
            },
        )
    pod = Pod(name, host, manifest, service, process, log, cluster.names)
    cluster.pods.append(pod)
    return pod


@contextmanager
def cluster_of(network: Network, names: Names, folder: Path) -> Iterator[Cluster]:
    """A cluster whose pods end with the context, whatever state they are in."""
    cluster = Cluster(network, names, folder)
    try:
        yield cluster
    finally:
        everything = cluster.processes
        for pod in cluster.pods:
            pod.is_leaving.set()
            pod.process.kill()  # and the kernel the rest: unshare's child is the first of its namespace
            pod.process.wait(60)
        deadline = time.monotonic() + 60
        while alive(everything) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(everything)
