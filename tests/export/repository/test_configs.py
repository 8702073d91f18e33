from __future__ import annotations

from dataclasses import replace

import pytest
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.export.repository.configs import (
    config_from_text,
    config_text,
    loaded_versions,
    model_configs,
    step_config,
)
from deepfake_triton.models.metadata import PUBLISHED

pytestmark = pytest.mark.fast


def test_every_config_survives_its_text() -> None:
    for config in model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32).values():
        assert config_from_text(config_text(config)) == config


def test_steps_have_a_bounded_queue_warm_up_and_an_instance_group() -> None:
    by_name = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32, max_queue=21)
    assert list(by_name) == [spec.name for spec in contracts.served_models(112)]
    steps = [spec for spec in contracts.served_models(112) if spec.backend != "ensemble"]
    for spec in steps:
        config = by_name[spec.name]
        assert config.max_batch_size == spec.max_batch_size
        policy = config.dynamic_batching.default_queue_policy
        assert policy.timeout_action == pb.ModelQueuePolicy.REJECT and policy.allow_timeout_override
        first = spec.name in ("frame_decoder", "face_detector")
        assert policy.max_queue_size == 21 if first else policy.max_queue_size >= 2 * contracts.MAX_FRAMES
        assert policy.default_timeout_microseconds == (20_000_000 if first else 120_000_000)
        warm = spec.name != "frame_decoder"  # for which zeros are no input
        assert len(config.model_warmup) == warm and loaded_versions(config) == [3]
        (group,) = config.instance_group
        kind = pb.ModelInstanceGroup.KIND_CPU if spec.backend == "python" else pb.ModelInstanceGroup.KIND_AUTO
        assert group.kind == kind and group.count >= 1


def test_python_steps_come_before_graphs_and_graphs_before_the_first_step() -> None:
    """Next comes what has the fewest executions times its priority, and one may answer a whole batch."""
    by_name = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32)
    groups = {name: config.instance_group for name, config in by_name.items()}
    priority = {name: group[0].rate_limiter.priority for name, group in groups.items() if group}
    batch = max(contracts.feature_extractor().max_batch_size, contracts.sequence_classifier().max_batch_size)
    for graph in ("feature_extractor", "sequence_classifier"):
        assert batch * max(1, priority["probability_mask"], priority["face_tracker"]) <= priority[graph]
        assert 1000 * priority[graph] <= priority["face_detector"]
    assert by_name["probability_mask"].instance_group[0].count == 2


def bounds(config: pb.ModelConfig) -> dict[str, int]:
    return {key: int(value.string_value) for key, value in config.parameters.items()}


def test_graphs_are_told_what_the_contract_allows() -> None:
    by_name = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32)
    frame, crop = 4096 * 4096 * 3, 112 * 112 * 3
    assert bounds(by_name["face_detector"]) == {
        "max_request_elements": 3 * 2**26,
        "max_row_elements": frame,
        "max_run_elements": 2**23,
        "max_run_rows": 8,
    }
    assert bounds(by_name["feature_extractor"]) == {
        "max_request_elements": 32 * 64 * crop,
        "max_row_elements": 64 * crop,
        "max_run_elements": 64 * crop,
    }
    assert bounds(by_name["sequence_classifier"]) == {
        "max_request_elements": 32 * 64 * 2048,
        "max_row_elements": 64 * 2048,
    }
    assert not bounds(by_name["face_tracker"]) and not bounds(by_name["frame_decoder"])


def test_engines_have_no_parameters_that_are_not_theirs() -> None:
    by_name = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32, backend="tensorrt")
    for name in ("face_detector", "feature_extractor", "sequence_classifier"):
        assert not by_name[name].parameters and by_name[name].HasField("dynamic_batching")


def test_requests_for_a_graph_that_mixes_them_wait_in_a_queue_and_are_not_put_together() -> None:
    spec = contracts.sequence_classifier()
    config = step_config(spec, [3], mixes_batch=True)
    assert config.max_batch_size == 0 and config.dynamic_batching.default_queue_policy.max_queue_size > 0
    assert [list(tensor.dims) for tensor in config.input] == [[-1, -1, 2048]]
    assert [list(tensor.dims) for tensor in config.output] == [[-1, 2], [-1, 1]]
    assert bounds(config) == {"max_request_elements": 32 * 64 * 2048}
    assert list(config.model_warmup[0].inputs[contracts.FEATURES.name].dims) == [1, 1, 2048]


def test_the_ensemble_pins_its_steps_and_says_what_it_is() -> None:
    metadata = replace(PUBLISHED, real_at_most={"default": 0.25})
    ensemble = model_configs(metadata, 7, weights="untrained", export_sha256="cd" * 32)["deepfake_detector"]
    steps = ensemble.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [
        ("face_detector", 7),
        ("face_tracker", 7),
        ("feature_extractor", 7),
        ("sequence_classifier", 7),
        ("probability_mask", 7),
    ]
    masked = steps[-1]
    assert dict(masked.output_map) == {"fake_probability": "fake_probability"}
    assert dict(steps[-2].output_map) == {"fake_probability": masked.input_map["classifier_probability"]}
    assert dict(steps[1].output_map).keys() == {"faces", "boxes", "observed", "faces_left_out"}
    assert ensemble.platform == "ensemble" and ensemble.max_batch_size == 0 and not ensemble.model_warmup
    parameters = {key: value.string_value for key, value in ensemble.parameters.items()}
    assert parameters == {
        "weights": "untrained",
        "export_version": "7",
        "export_sha256": "cd" * 32,
        "crop_side": "112",
        "temporal": "per-frame",
        "pooling": "last",
        "operating_points": '{"default": 0.5}',
        "real_at_most": '{"default": 0.25}',
    }


def test_one_clip_fits_the_detectors_batch_and_all_tracks_the_extractors() -> None:
    detector, extractor = contracts.face_detector(), contracts.feature_extractor()
    classifier = contracts.sequence_classifier()
    assert detector.max_batch_size >= contracts.MAX_FRAMES
    assert min(extractor.max_batch_size, classifier.max_batch_size) >= contracts.MAX_FACES
