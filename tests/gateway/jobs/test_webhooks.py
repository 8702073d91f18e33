"""Webhooks against a real HTTP server: signed, repeated, given up, never to an address not allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from https_server import certificates_for, https_server, respond
from jobs_in_test import until
from judge_stand_in import DecodersStandIn, JudgeStandIn, upload_of
from webhook_receiver import SECRET, receiving, verified

from deepfake_triton.errors import DeepfakeError, InvalidOption, NotAVideo
from deepfake_triton.gateway.jobs import webhooks
from deepfake_triton.gateway.jobs.events import Canceled
from deepfake_triton.gateway.jobs.job import Job, JobRequest, JobState
from deepfake_triton.gateway.jobs.jobs import Jobs
from deepfake_triton.gateway.jobs.webhooks import Backoff, WebhookSender
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import Limits, Webhooks
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts
from deepfake_triton.gateway.uploads.guarded_client import GuardedClient
from deepfake_triton.json_object import JsonObject

pytestmark = pytest.mark.fast

QUICK = Backoff(attempts=4, first_s=0.02, factor=1.5)


def problem_of(error: DeepfakeError) -> JsonObject:
    """A problem object, as the gateway's REST side makes them."""
    return {"error": type(error).__name__, "detail": str(error)}


def announce(
    webhooks: Webhooks,
    *,
    caller_url: str | None = None,
    guarded: GuardedClient | None = None,
    decoders: DecodersStandIn | None = None,
    cancel: bool = False,
) -> tuple[Job, bytes]:
    """Run a job to its end and wait for its messages; return it with the metrics."""
    metrics = GatewayMetrics()

    async def run() -> Job:
        sender = WebhookSender(webhooks, metrics, problem_of=problem_of, backoff=QUICK, guarded=guarded)
        judge = JudgeStandIn(is_held=cancel)
        jobs = Jobs(judge, decoders or DecodersStandIn(), Limits(), metrics=metrics, webhooks=sender)
        job = jobs.submit(upload_of(name="secret-name.mp4"), JobRequest(webhook_url=caller_url))
        if cancel:
            await asyncio.sleep(0.01)
            jobs.cancel(job)
            judge.answer()
        await job.ended()
        await jobs.close()
        return job

    return asyncio.run(run()), metrics.text()


def test_an_ended_job_is_announced_with_a_signature_that_verifies() -> None:
    with receiving() as receiver:
        job, metrics = announce(Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/hook?token=x"))
    (document,) = receiver.documents()
    assert job.verdict
    assert document["type"] == "job.done"
    assert document["data"] == {"id": job.id, "state": "done", "result": job.verdict.as_dict()}
    assert str(document["timestamp"]).endswith("Z")
    path, headers, _ = receiver.requests[0]
    assert path == "/hook?token=x" and headers["content-type"] == "application/json"
    assert b'gateway_webhooks_total{outcome="delivered"} 1.0' in metrics


def test_failed_and_canceled_jobs_are_announced_too() -> None:
    decoders = DecodersStandIn()
    decoders.error = NotAVideo("secret-name.mp4: no media file")
    with receiving() as receiver:
        webhooks = Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/")
        failed, _ = announce(webhooks, decoders=decoders)
        canceled, _ = announce(webhooks, cancel=True)
    first, second = receiver.documents()
    assert first["type"] == "job.failed"
    assert first["data"] == {
        "id": failed.id,
        "state": "failed",
        "problem": {"error": "NotAVideo", "detail": "secret-name.mp4: no media file"},
    }
    assert second["type"] == "job.canceled" and second["data"] == {"id": canceled.id, "state": "canceled"}


def test_a_message_is_repeated_under_the_same_id_until_it_is_taken() -> None:
    with receiving((500, 302, 429)) as receiver:
        announce(Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/hook"))
    assert [path for path, _, _ in receiver.requests] == ["/hook"] * 4, "redirects are not followed"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert len(receiver.documents()) == 4


def test_it_gives_up_and_logs_neither_address_nor_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving((500,) * 9) as receiver:
        _, metrics = announce(Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/hook?token=hunter2"))
        assert len(receiver.requests) == 4
    assert b'gateway_webhooks_total{outcome="given_up"} 1.0' in metrics
    assert "webhook to 127.0.0.1 given_up: status 500, 4 attempts" in caplog.text
    for word in ("hunter2", "secret-name", SECRET, "/hook"):
        assert word not in caplog.text


def ended_jobs(count: int, url: str | None = None, owner: str | None = None) -> list[Job]:
    """Jobs that were canceled."""
    jobs = [Job(upload_of(), JobRequest(webhook_url=url, owner=owner)) for _ in range(count)]
    for job in jobs:
        job.end(JobState.CANCELED, Canceled())
    return jobs


class DeadHosts(GuardedClient):
    """Hosts that never answer."""

    async def post(self, url: str, content: bytes, *, headers: Mapping[str, str]) -> int:
        await asyncio.sleep(60)
        return 0


def test_a_dead_address_holds_up_nobody_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = GatewayMetrics()

    async def run(port: int) -> None:
        sender = WebhookSender(
            Webhooks(SECRET, f"http://127.0.0.1:{port}/"),
            metrics,
            problem_of=problem_of,
            guarded=DeadHosts(AllowedHosts(("*",))),
        )
        for job in ended_jobs(150, "https://dead.example/hook", "alice"):
            sender.announce(job)
            await asyncio.sleep(0)
        dropped = metrics.text()
        assert b'gateway_webhooks_total{outcome="dropped"} 130.0' in dropped
        sender.announce(ended_jobs(1, "https://other.example/hook", "alice")[0])
        assert b'{outcome="dropped"} 131.0' in metrics.text(), "the key has its messages waiting"
        sender.announce(ended_jobs(1, "https://other.example/hook", "bob")[0])
        assert b'{outcome="dropped"} 131.0' in metrics.text(), "another one is not held up"
        await until(lambda: b'{outcome="delivered"} 152.0' in metrics.text())
        await sender.close()

    monkeypatch.setattr(webhooks, "_CLOSE_S", 0.05)
    with receiving() as receiver:
        asyncio.run(run(receiver.port))
        assert len(receiver.requests) == 152, "the operator is told of all"
    assert b'{outcome="dropped"} 152.0' in metrics.text(), "those that wait at the end are counted"
    assert "webhook to other.example dropped: the gateway stops" in caplog.text
    assert "/hook" not in caplog.text


def test_a_fault_of_the_sender_itself_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    metrics = GatewayMetrics()

    async def run() -> None:
        def broken(_: DeepfakeError) -> JsonObject:
            raise KeyError("secret-name.mp4")

        (job,) = ended_jobs(1)
        job.error = NotAVideo("secret-name.mp4")
        sender = WebhookSender(Webhooks(SECRET, "http://127.0.0.1:9/"), metrics, problem_of=broken)
        sender.announce(job)
        await sender.close()

    asyncio.run(run())
    assert b'gateway_webhooks_total{outcome="given_up"} 1.0' in metrics.text()
    assert "unexpected KeyError in a webhook" in caplog.text and "secret-name" not in caplog.text


def test_an_address_that_is_gone_gets_no_further_attempt() -> None:
    with receiving((410,)) as receiver:
        announce(Webhooks(SECRET, f"http://127.0.0.1:{receiver.port}/"))
    assert len(receiver.requests) == 1


def test_a_server_that_is_away_is_no_fault_of_the_job() -> None:
    job, metrics = announce(Webhooks(SECRET, "http://127.0.0.1:9/"))
    assert job.verdict
    assert b'gateway_webhooks_total{outcome="given_up"} 1.0' in metrics


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/",  # not https
        "https://localhost:{port}/",  # loopback
        "https://127.0.0.1:{port}/",  # a host that is not allowed
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://localhost@127.0.0.1:{port}/",
        "https://[/nothing",
    ],
)
def test_callers_reach_no_address_that_is_not_allowed(url: str) -> None:
    with receiving() as receiver:
        webhooks = Webhooks(SECRET, None, (f"localhost:{receiver.port}",))
        _, metrics = announce(webhooks, caller_url=url.format(port=receiver.port))
    assert receiver.requests == []
    assert b'gateway_webhooks_total{outcome="given_up"} 1.0' in metrics


def test_a_callers_address_on_an_allowed_host_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = certificates_for(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    scripts = {"/told": respond(b"", status="204 No Content")}
    with https_server(certificates, scripts) as server:
        hosts = AllowedHosts((f"localhost:{server.port}",))
        networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
        _, metrics = announce(
            Webhooks(SECRET),
            caller_url=f"https://localhost:{server.port}/told?token=x",
            guarded=GuardedClient(hosts, networks),
        )
    (request,) = server.requests
    head, _, body = request.partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert request.startswith("POST /told?token=x ")
    assert verified(headers, body.encode())["type"] == "job.done"
    assert b'gateway_webhooks_total{outcome="delivered"} 1.0' in metrics


@pytest.mark.parametrize(
    ("webhooks", "message"),
    [
        (Webhooks("whsec_?"), "base64"),
        (Webhooks(""), "empty"),
        (Webhooks(SECRET, "ftp://host/"), "https://HOST/PATH"),
    ],
)
def test_settings_that_cannot_work_are_said_at_start(webhooks: Webhooks, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        WebhookSender(webhooks, GatewayMetrics(), problem_of=problem_of)


def test_the_waiting_times_grow() -> None:
    backoff = Backoff(first_s=2, factor=4)
    assert [1 <= backoff.wait_s(1) <= 2, 4 <= backoff.wait_s(2) <= 8, 16 <= backoff.wait_s(3) <= 32] == [
        True
    ] * 3
