"""Webhooks: ended jobs are announced as Standard Webhooks (https://www.standardwebhooks.com) describes."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import urlsplit

import httpx

from deepfake_triton.errors import DeepfakeError, InvalidOption, UrlRefused, UrlUnavailable
from deepfake_triton.gateway.jobs.job import Job
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.settings import Webhooks
from deepfake_triton.gateway.time_limit import within
from deepfake_triton.gateway.unexpected import log_unexpected
from deepfake_triton.gateway.uploads.allowed_hosts import AllowedHosts
from deepfake_triton.gateway.uploads.guarded_client import GuardedClient
from deepfake_triton.json_object import JsonObject

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_CLOSE_S = 2.0
_MAX_PENDING = 200
"""Messages to the operator's address that wait or are being sent; those to callers' count apart."""
_MAX_PENDING_OF_ONE = 20
"""The same for one host, and for one owner's jobs, as far as callers named the address."""
_MAX_AT_ONCE = 8
_GONE = 410
_HEADERS = {"content-type": "application/json", "user-agent": "deepfake-triton"}


@dataclass(frozen=True)
class Backoff:
    """When a message is sent again; the waiting times grow by `factor`, each drawn from its upper half.

    Attributes:
        attempts: Number of all attempts.
        first_s: Longest time before the second one.
    """

    attempts: int = 7
    first_s: float = 2.0
    factor: float = 4.0

    def wait_s(self, attempt: int) -> float:
        """Return the time to wait after attempt number `attempt`, from 1."""
        return self.first_s * self.factor ** (attempt - 1) * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class _Message:
    """A message to one address; `id` is the same in each attempt."""

    url: str = field(repr=False)
    is_operators: bool
    owner: str | None
    id: str = field(default_factory=lambda: "msg_" + secrets.token_urlsafe(16))

    @property
    def host(self) -> str:
        """Host of the address: all of it that may be logged."""
        try:
            return urlsplit(self.url).hostname or ""
        except ValueError:
            return ""


class WebhookSender:
    """Announces ended jobs to the operator's address and to those that callers named.

    A caller's address is checked as GuardedClient does it; the operator's own is trusted, and may be
    http://. Redirects are never followed.

    Args:
        webhooks: Addresses, and the key of the signatures: base64 after `whsec_`, or any other text.
        metrics: Counts the messages.
        problem_of: Returns the problem object of a job's error.
        guarded: Reaches what callers may name; None: public addresses of the allowed hosts.

    Raises:
        InvalidOption: The key or the operator's address is malformed.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        metrics: GatewayMetrics,
        *,
        problem_of: Callable[[DeepfakeError], JsonObject],
        backoff: Backoff = Backoff(),
        guarded: GuardedClient | None = None,
    ) -> None:
        self._key = key_from_secret(webhooks.secret)
        self._url = _require_http(webhooks.url)
        self._metrics, self._problem_of, self._backoff = metrics, problem_of, backoff
        self._guarded = guarded or GuardedClient(AllowedHosts(webhooks.allowed_hosts))
        self._slots = {is_operators: asyncio.Semaphore(_MAX_AT_ONCE) for is_operators in (True, False)}
        self._pending: dict[asyncio.Task[None], _Message] = {}
        self._trusting: httpx.AsyncClient | None = None
        # httpx logs whole addresses at level INFO, and in some of them a token stands.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def announce(self, job: Job) -> None:
        """Send an ended job's messages in the background; too many pending ones are dropped."""
        for url in dict.fromkeys((self._url, job.request.webhook_url)):
            if not url:
                continue
            message = _Message(url, url == self._url, job.request.owner)
            if reason := self._crowd_before(message):
                self._settle(message, "dropped", reason)
                continue
            task = asyncio.create_task(self._deliver(message, job))
            self._pending[task] = message
            task.add_done_callback(self._delivered)

    def _crowd_before(self, message: _Message) -> str:
        """Return why no further message like this one may wait; nothing if it may.

        A host that does not answer holds up nobody else's messages, and callers none of the operator's.
        """
        others = [other for other in self._pending.values() if other.is_operators == message.is_operators]
        if len(others) >= _MAX_PENDING:
            return f"{_MAX_PENDING} messages wait"
        if message.is_operators:
            return ""
        if sum(other.host == message.host for other in others) >= _MAX_PENDING_OF_ONE:
            return f"{_MAX_PENDING_OF_ONE} messages to this host wait"
        if message.owner and sum(other.owner == message.owner for other in others) >= _MAX_PENDING_OF_ONE:
            return f"{_MAX_PENDING_OF_ONE} messages of this key's jobs wait"
        return ""

    def _delivered(self, task: asyncio.Task[None]) -> None:
        """Settle what ended otherwise than foreseen."""
        message = self._pending.pop(task)
        if task.cancelled():
            self._settle(message, "dropped", "the gateway stops")
        elif error := task.exception():
            log_unexpected(error, "a webhook")
            self._settle(message, "given_up", type(error).__name__)

    async def close(self) -> None:
        """Wait for messages on their way, 2 s at most; those that wait for a further attempt are dropped."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=_CLOSE_S)
        pending = tuple(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self._trusting:
            await self._trusting.aclose()

    async def _deliver(self, message: _Message, job: Job) -> None:
        """Send a message until it is taken, refused for good, or all attempts were made."""
        body = await asyncio.to_thread(_body_of, job, self._problem_of)  # a verdict may be large
        del job  # which may be forgotten long before the last attempt
        for attempt in range(1, self._backoff.attempts + 1):
            reason, is_final = await self._attempt(message, body)
            if not reason:
                self._settle(message, "delivered")
                return
            if is_final:
                break
            if attempt < self._backoff.attempts:
                await asyncio.sleep(self._backoff.wait_s(attempt))
        self._settle(message, "given_up", f"{reason}, {attempt} attempts")

    async def _attempt(self, message: _Message, body: bytes) -> tuple[str, bool]:
        """Send once; return why it failed, or nothing, and whether a further attempt is useless."""
        try:
            async with self._slots[message.is_operators]:
                status = await within(self._post(message, body), _TIMEOUT_S)
        except (httpx.HTTPError, UrlUnavailable, OSError, asyncio.TimeoutError) as error:
            return type(error).__name__, False
        except (UrlRefused, httpx.InvalidURL) as error:
            return type(error).__name__, True
        return ("", False) if 200 <= status < 300 else (f"status {status}", status == _GONE)

    async def _post(self, message: _Message, body: bytes) -> int:
        """Return the status of the answer; its body is not read."""
        headers = _HEADERS | signed_headers(self._key, message.id, body)
        if not message.is_operators:
            return await self._guarded.post(message.url, body, headers=headers)
        self._trusting = self._trusting or httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
        stream = self._trusting.stream("POST", message.url, content=body, headers=headers)
        async with stream as response:
            return response.status_code

    def _settle(self, message: _Message, outcome: str, reason: str = "") -> None:
        self._metrics.webhook(outcome)
        if reason:
            _log.warning("webhook to %s %s: %s", message.host, outcome, reason)


def key_from_secret(secret: str) -> bytes:
    """Return the bytes of a key. Raises InvalidOption."""
    prefix, found, encoded = secret.partition("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True) if found and not prefix else secret.encode()
    except binascii.Error as error:
        raise InvalidOption("webhook secret: no base64 after whsec_; copy all of it") from error
    if not key:
        raise InvalidOption("webhook secret: empty; choose 24 random bytes or more")
    return key


def signed_headers(key: bytes, message_id: str, body: bytes) -> dict[str, str]:
    """Return the headers that identify a message, and prove who sent it and when (HMAC-SHA256)."""
    timestamp = str(int(time.time()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _body_of(job: Job, problem_of: Callable[[DeepfakeError], JsonObject]) -> bytes:
    """Return the JSON that says how a job ended."""
    data: JsonObject = {"id": job.id, "state": job.state.value}
    if job.verdict is not None:
        data["result"] = job.verdict.as_dict()
    elif job.error is not None:
        data["problem"] = problem_of(job.error)
    ended = datetime.fromtimestamp(job.ended_at or time.time(), timezone.utc)
    document = {
        "type": f"job.{job.state.value}",
        "timestamp": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _require_http(url: str | None) -> str | None:
    if url is not None and urlsplit(url).scheme not in {"http", "https"}:
        raise InvalidOption("webhook address: expected https://HOST/PATH, or http:// in your own network")
    return url
