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


def test_a_gpu_gets_more_instances_and_all_else_is_as_for_a_cpu() -> None:
    on_cpu = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32)
    on_gpu = model_configs(PUBLISHED, 3, weights="custom", export_sha256="ab" * 32, device="gpu")
    counts = {
        name: (config.instance_group[0].count, on_gpu[name].instance_group[0].count)
        for name, config in on_cpu.items()
        if config.instance_group
    }
    assert counts == {
        "frame_decoder": (1, 4),
        "face_detector": (1, 2),
        "face_tracker": (2, 8),
        "feature_extractor": (1, 2),
        "sequence_classifier": (1, 1),
        "probability_mask": (2, 2),
    }
    for name, config in on_gpu.items():
        for group in config.instance_group:
            group.count = counts[name][0]
        assert config == on_cpu[name]


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


def test_with_an_interval_the_detector_gets_what_the_sampler_chose_and_nothing_else_changes() -> None:
    every = model_configs(PUBLISHED, 7, weights="custom", export_sha256="ab" * 32, max_queue=21)
    some = model_configs(
        PUBLISHED, 7, weights="custom", export_sha256="ab" * 32, max_queue=21, detection_interval=4
    )
    sampler = some.pop("frame_sampler")
    assert list(some) == list(every) and "frame_sampler" not in every
    for name, before in (("deepfake_detector", None), ("deepfake_detector_jpeg", "frame_decoder")):
        ensemble = some.pop(name)
        steps = ensemble.ensemble_scheduling.step
        names = [step.model_name for step in steps]
        begin = names.index("frame_sampler")
        assert names[begin - 1] == before if before else begin == 0
        assert names[begin + 1 : begin + 3] == ["face_detector", "face_tracker"]
        assert dict(steps[begin].input_map) == {"frames": "frames"}
        assert dict(steps[begin + 1].input_map) == {"frames": "sampled_frames"}
        assert dict(steps[begin + 2].input_map) == {"frames": "frames", "detections": "detections"}
        assert all(step.model_version == 7 for step in steps)
        assert ensemble.parameters.pop("detection_interval").string_value == "4"
        del steps[begin]
        steps[begin].input_map["frames"] = "frames"
        assert ensemble == every.pop(name)
    assert some == every
    assert sampler.max_batch_size == 0 and not sampler.instance_group[0].rate_limiter.resources
    assert sampler.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU, "a GPU gets no frame in vain"
    assert sampler.dynamic_batching.default_queue_policy.max_queue_size == 21
    assert list(sampler.model_warmup[0].inputs["frames"].dims) == [1, *contracts.TYPICAL_FRAME_HW, 3]
    assert bounds(sampler) == {
        "max_request_elements": 3 * 2**26,
        "max_row_elements": 4096 * 4096 * 3,
        "intra_op_thread_count": 1,
        "enable_mem_arena": 0,
    }


def test_beside_engines_the_sampler_stays_on_onnx_runtime() -> None:
    configs = model_configs(
        PUBLISHED,
        1,
        weights="custom",
        export_sha256="",
        backend="tensorrt",
        detection_interval=2,
        device="gpu",
    )
    assert (
        configs["frame_sampler"].backend == "onnxruntime" and configs["face_detector"].backend == "tensorrt"
    )
    (group,) = configs["frame_sampler"].instance_group
    assert (group.kind, group.count) == (pb.ModelInstanceGroup.KIND_CPU, 4)


def test_one_clip_fits_the_detectors_batch_and_all_tracks_the_extractors() -> None:
    detector, extractor = contracts.face_detector(), contracts.feature_extractor()
    classifier = contracts.sequence_classifier()
    assert detector.max_batch_size >= contracts.MAX_FRAMES
    assert min(extractor.max_batch_size, classifier.max_batch_size) >= contracts.MAX_FACES
