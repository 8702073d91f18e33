"""What was measured of one server under load, as far as capacity is planned from it."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.errors import InvalidBenchmark

TRANSPORTS = ("grpc", "jpeg", "auto", "shared-memory")
"""How frames reached the server; what crosses a network first: replicas stand on other hosts than callers."""
CROSS_HOSTS = ("grpc", "jpeg")


@dataclass(frozen=True)
class LoadPoint:
    """One load, and what came of it.

    `callers` wait for each answer before they ask again (closed loop); it is None for requests at a steady
    rate (open loop). `failed` requests were refused or ended in an error.
    """

    clips_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    callers: int | None = None
    requests_per_second: float | None = None

    @property
    def is_steady_rate(self) -> bool:
        """Whether requests came at a rate, no matter how many were waiting."""
        return self.callers is None

    @property
    def words(self) -> str:
        """The load, such as `8 callers at once`."""
        if self.callers is None:
            return f"{self.requests_per_second:g} requests/s"
        return f"{self.callers} caller{'s' * (self.callers != 1)} at once"


@dataclass(frozen=True)
class LoadFigures:
    """All points of one server and one transport, on one machine."""

    source: str
    """Name of the file."""
    transport: str
    environment: Environment
    points: tuple[LoadPoint, ...]
    """At least one, each with answered clips."""
    frames: int | None = None
    """Frames of the clip that was sent, where they can be told."""
    start_s: float | None = None
    """Time from the start of the server's process until it was ready."""
    note: str | None = None
    """How it was measured, in the words of whoever stored it."""

    @property
    def unrefused(self) -> tuple[LoadPoint, ...]:
        """Points at which every request was answered. Raises InvalidBenchmark without one."""
        points = tuple(point for point in self.points if not point.failed)
        if not points:
            raise InvalidBenchmark(
                f"{self.source}: requests failed at every load over {self.transport}; measure smaller ones "
                "too, with `bench load --callers 1,2,4`"
            )
        return points

    @property
    def peak(self) -> LoadPoint:
        """The point of highest throughput at which every request was answered."""
        return max(self.unrefused, key=lambda point: point.clips_per_second)

    @property
    def lightest(self) -> LoadPoint:
        """The point of shortest median latency."""
        return min(self.unrefused, key=lambda point: point.p50_ms)

    @property
    def crosses_hosts(self) -> bool:
        """Whether the transport is one that replicas on other hosts can be asked over."""
        return self.transport in CROSS_HOSTS

    @property
    def machine(self) -> str:
        """The machine in a few words: its GPU, else its CPU."""
        environment = self.environment
        if environment.gpu:
            return f"{environment.gpu.partition(',')[0]}, {environment.cores} CPU cores"
        return f"{environment.cores} cores of {environment.cpu}, no GPU"


def of_transport(measured: tuple[LoadFigures, ...], transport: str | None) -> LoadFigures:
    """Return the figures of one transport; with None, of the first of TRANSPORTS that was measured.

    Raises InvalidBenchmark where it was not measured.
    """
    by_name = {figures.transport: figures for figures in measured}
    if transport is None:
        return min(measured, key=lambda figures: TRANSPORTS.index(figures.transport))
    if transport not in by_name:
        raise InvalidBenchmark(
            f"{measured[0].source}: got no figures over {transport}, only over {', '.join(by_name)}; "
            f"measure them with `bench load --transport {transport}`"
        )
    return by_name[transport]
