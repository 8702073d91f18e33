"""Metrics of one gateway, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from deepfake_triton.client import RequestCounts
from deepfake_triton.client.verdicts.verdict import UNCERTAIN, ModelInfo, Verdict, VideoVerdict
from deepfake_triton.errors import GatewayBusy, SpoolFull

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PROBABILITIES = tuple(step / 10 for step in range(1, 11))
_INCONCLUSIVE_REASONS = (UNCERTAIN, "no_face", "too_few_frames", "face_too_small", "low_quality")
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class _ClientCollector(Collector):
    """Counters of a client, by server and outcome."""

    def __init__(self, counts: Callable[[], RequestCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        counts = self._counts()
        family = CounterMetricFamily(
            "deepfake_requests",
            "Clips sent to a Triton server, each time that they were, by outcome: answered, refused, failed.",
            labels=["server", "outcome"],
        )
        for outcome in ("answered", "refused", "failed"):
            for server, number in getattr(counts, outcome).items():
                family.add_metric([server, outcome], number)
        yield family


class GatewayMetrics:
    """Counters of one gateway, in a registry of its own.

    Triton 2.51 does not count the requests that it refuses for a full queue: `deepfake_requests_total` does,
    and `deepfake_refused_total` counts the jobs that failed so.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Counter("gateway_jobs", "Ended jobs by outcome.", ["outcome"], registry=self.registry)
        self._refused = Counter(
            "gateway_refused",
            "Requests that the gateway refused, by error.",
            ["error"],
            registry=self.registry,
        )
        self._overloaded = Counter(
            "deepfake_refused",
            "Jobs that failed because a Triton server refused their windows.",
            ["server"],
            registry=self.registry,
        )
        self._verdicts = Counter(
            "deepfake_verdicts",
            "Verdicts by kind; those that are INCONCLUSIVE by reason.",
            ["verdict", "reason"],
            registry=self.registry,
        )
        self._probability = Histogram(
            "deepfake_fake_probability",
            "Highest probability of FAKE of each judged video.",
            buckets=_PROBABILITIES,
            registry=self.registry,
        )
        self._model = Gauge(
            "deepfake_model_info",
            "The model of the last verdict: always 1.",
            ["name", "version", "weights", "sha256"],
            registry=self.registry,
        )
        self._running = Gauge("gateway_jobs_running", "Jobs that hold a slot.", registry=self.registry)
        self._queued = Gauge("gateway_jobs_queued", "Jobs that wait.", registry=self.registry)
        self._seconds = Histogram(
            "gateway_job_seconds",
            "Seconds of a job by stage: queued, judged (with decoding).",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._upload_bytes = Counter(
            "gateway_upload_bytes", "Bytes of accepted uploads.", registry=self.registry
        )
        self._webhooks = Counter(
            "gateway_webhooks", "Webhook messages by outcome.", ["outcome"], registry=self.registry
        )
        for verdict in Verdict:  # from zero, or the first of a kind would have no rate
            for reason in _INCONCLUSIVE_REASONS if verdict is Verdict.INCONCLUSIVE else ("",):
                self._verdicts.labels(verdict.value, reason)
        for outcome in ("done", "failed", "canceled"):
            self._jobs.labels(outcome)
        for outcome in ("delivered", "given_up", "dropped"):
            self._webhooks.labels(outcome)
        for error in (GatewayBusy, SpoolFull):
            self._refused.labels(error.__name__)
        for stage in ("queued", "judged"):
            self._seconds.labels(stage)

    def follow_client(self, counts: Callable[[], RequestCounts]) -> None:
        """Tell what became of the clips that the gateway's client sent, at each scrape."""
        self.registry.register(_ClientCollector(counts))

    def ended(self, outcome: str) -> None:
        """Count a job that ended as `done`, `failed` or `canceled`."""
        self._jobs.labels(outcome).inc()

    def judged(self, verdict: VideoVerdict) -> None:
        """Count a verdict, its probability and its model."""
        self._verdicts.labels(verdict.verdict.value, verdict.reason or "").inc()
        if verdict.fake_probability is not None:
            self._probability.observe(verdict.fake_probability)
        self._model.clear()
        documented = [getattr(verdict.model, name) for name in ModelInfo.DOCUMENTED]
        self._model.labels(*documented).set(1)

    def refused(self, error_type: str) -> None:
        """Count a request that was refused with an error of this type."""
        self._refused.labels(error_type).inc()

    def overloaded(self, server: str) -> None:
        """Count a job that failed because this Triton server, or these, refused its windows."""
        self._overloaded.labels(server).inc()

    def load(self, *, running: int, queued: int) -> None:
        """Set the numbers of jobs that run and that wait."""
        self._running.set(running)
        self._queued.set(queued)

    def stage_seconds(self, stage: str, seconds: float) -> None:
        """Observe the seconds that a job spent in a stage, `queued` or `judged`."""
        self._seconds.labels(stage).observe(seconds)

    def uploaded(self, num_bytes: int) -> None:
        """Count the bytes of an accepted upload."""
        self._upload_bytes.inc(num_bytes)

    def webhook(self, outcome: str) -> None:
        """Count a webhook message: `delivered`, `given_up` or `dropped`."""
        self._webhooks.labels(outcome).inc()

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format, of type CONTENT_TYPE."""
        return generate_latest(self.registry)
