"""Who may upload, before any byte is read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs_in_test import LIMITS, Gateway, run
from limits import parse

from deepfake_triton.errors import GatewayBusy, RateLimited
from deepfake_triton.gateway.access.access import Access
from deepfake_triton.gateway.access.callers import ANYONE, ApiKey, Caller
from deepfake_triton.gateway.admission import admission
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.gateway.uploads.spool import Spool

pytestmark = pytest.mark.fast

ROOMY = replace(LIMITS, max_running=2, max_queued=6, spool_reserve_bytes=0)


def services_of(gateway: Gateway, tmp_path: Path) -> Services:
    settings = GatewaySettings(limits=gateway.limits)
    spool = Spool(tmp_path, gateway.limits)
    unused: Any = None
    return Services(settings, unused, spool, unused, gateway.jobs, Access(settings), gateway.metrics, unused)


def test_slow_uploads_of_one_address_keep_nobody_else_out(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway) -> None:
        services = services_of(gateway, tmp_path)
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(admission(services, ANYONE, 2**20, address="192.0.2.1"))
            with pytest.raises(GatewayBusy, match="4 of your uploads are under way, 4 at most"):
                stack.enter_context(admission(services, ANYONE, 2**20, address="192.0.2.1"))
            for _ in range(4):
                stack.enter_context(admission(services, ANYONE, 2**20, address="192.0.2.2"))
            with pytest.raises(GatewayBusy, match="8 uploads are under way"):
                stack.enter_context(admission(services, ANYONE, 2**20, address="192.0.2.3"))
        assert not services.uploading, "nothing is kept of those that have ended"

    run(scenario, Gateway(ROOMY))


def test_callers_on_this_host_may_take_all_places(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway) -> None:
        services = services_of(gateway, tmp_path)
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(admission(services, ANYONE, 2**20, address="127.0.0.1"))
            with pytest.raises(GatewayBusy, match="8 uploads are under way"):
                stack.enter_context(admission(services, ANYONE, 2**20, address="::1"))

    run(scenario, Gateway(ROOMY))


def test_a_key_has_its_share_wherever_it_is_used(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway) -> None:
        services = services_of(gateway, tmp_path)
        first, second = Caller(ApiKey("first", "")), Caller(ApiKey("second", "", max_jobs=1))
        with ExitStack() as stack:
            for host in range(4):
                stack.enter_context(admission(services, first, None, address=f"192.0.2.{host}"))
            with pytest.raises(GatewayBusy, match="of your uploads"):
                stack.enter_context(admission(services, first, None, address="192.0.2.9"))
            stack.enter_context(admission(services, second, None, address="192.0.2.1"))
            with pytest.raises(RateLimited, match="has 1 and may have 1"):
                stack.enter_context(admission(services, second, None, address="192.0.2.1"))

    run(scenario, Gateway(ROOMY))


def test_a_refused_request_leaves_the_rate_as_it_is(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway) -> None:
        services = services_of(gateway, tmp_path)
        caller = Caller(ApiKey("slow", "", rate=parse("2/hour")))
        with ExitStack() as others:
            for host in range(8):
                others.enter_context(admission(services, ANYONE, None, address=f"192.0.2.{host}"))
            for _ in range(3):
                with pytest.raises(GatewayBusy), admission(services, caller, None):
                    pass
        for _ in range(2):
            with admission(services, caller, None):
                pass
        with pytest.raises(RateLimited, match="may send 2 per 1 hour"), admission(services, caller, None):
            pass

    run(scenario, Gateway(ROOMY))


def test_the_smallest_gateway_still_takes_an_upload(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway) -> None:
        with admission(services_of(gateway, tmp_path), ANYONE, None):
            pass

    run(scenario, Gateway(replace(ROOMY, max_running=1, max_queued=0)))
