"""Three Tritons of the chart under steady load, on hosts with delay and loss between them: behind Envoy, and
behind the client's own round robin over the headless Service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chart_cluster import Release, needs_envoy, release
from deploy_tools import needs_helm
from network_hosts import needs_hosts
from steady_load import Load, steady_load

pytestmark = [pytest.mark.slow, pytest.mark.alone, needs_helm, needs_hosts, needs_envoy]
SPREAD_CALLS = 150


@pytest.fixture(scope="module")
def running(default_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Envoy and three Tritons of version 1."""
    with release(tmp_path_factory.mktemp("release")) as started:
        started.start_tritons(3, default_repository)
        started.start_envoy()
        yield started


@pytest.mark.parametrize(("service", "least_share"), [("-headless", 0.8), ("-envoy", 0.6)])
def test_each_gets_its_share(running: Release, service: str, least_share: float) -> None:
    """Round robin counts; Envoy takes the less loaded of two that it draws."""
    before = running.judged()
    with steady_load(running.cluster, running.address(service), callers=4, pause_s=0, blank=True) as load:
        load.wait_for(SPREAD_CALLS)
    counts = {name: count - before[name] for name, count in running.judged().items()}
    print(service, counts)
    assert load.failed == []
    assert sum(counts.values()) == len(load.outcomes) and len(counts) == 3
    assert min(counts.values()) >= least_share * len(load.outcomes) / 3, counts


def test_all_are_replaced_by_a_new_model_at_no_cost(running: Release, next_repository: Path) -> None:
    """Nothing fails, nothing is judged twice, and each verdict names the model that gave it."""
    before = sum(running.judged().values())
    with (
        steady_load(running.cluster, running.address("-headless"), callers=2) as turning,
        steady_load(running.cluster, running.address("-envoy"), callers=2) as proxied,
    ):
        for load in (turning, proxied):
            load.wait_for(5)
        running.roll(next_repository)
        for load in (turning, proxied):
            load.wait_for(5)
    judged = running.judged()
    print(f"round robin: {turning.figures}; Envoy: {proxied.figures}")
    print(judged, "packets passed on and lost:", running.cluster.network.packets())
    for load in (turning, proxied):
        assert load.failed == []
        check_models(load)
    assert sum(judged.values()) - before == len(turning.outcomes) + len(proxied.outcomes), judged
    assert all(judged[pod.name] > 0 for pod in running.tritons), "a new one was never asked"


def check_models(load: Load) -> None:
    """Both versions answered, each with one probability, as the clip is always the same."""
    by_version: dict[str, set[float]] = {}
    for each in load.outcomes:
        by_version.setdefault(each.version, set()).add(round(each.probability, 3))
    assert {version: len(found) for version, found in by_version.items()} == {"1": 1, "2": 1}, by_version
    assert by_version["1"] != by_version["2"]
