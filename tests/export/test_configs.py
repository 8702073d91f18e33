from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.export.configs import config_from_text, config_text, loaded_versions
from deepfake_triton.export.facts import PUBLISHED
from deepfake_triton.export.pipeline import configs


def test_every_config_survives_its_text() -> None:
    for config in configs("custom", PUBLISHED, 3, "ab" * 32).values():
        assert config_from_text(config_text(config)) == config


def test_steps_have_batching_warm_up_and_an_instance_group() -> None:
    by_name = configs("custom", PUBLISHED, 3, "ab" * 32)
    assert list(by_name) == [spec.name for spec in contracts.served_models(112)]
    steps = [spec for spec in contracts.served_models(112) if spec.backend != "ensemble"]
    for spec in steps:
        config = by_name[spec.name]
        assert config.max_batch_size == spec.max_batch_size
        assert config.HasField("dynamic_batching") == (spec.max_batch_size > 0)
        warm = spec.name != "frame_decoder"  # for which zeros are no input
        assert len(config.model_warmup) == warm and loaded_versions(config) == [3]
        (group,) = config.instance_group
        kind = pb.ModelInstanceGroup.KIND_CPU if spec.backend == "python" else pb.ModelInstanceGroup.KIND_AUTO
        assert group.kind == kind and group.count >= 1


def test_the_ensemble_pins_its_steps_and_says_what_it_is() -> None:
    ensemble = configs("untrained", PUBLISHED, 7, "cd" * 32)["deepfake_detector"]
    steps = ensemble.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [
        ("face_detector", 7),
        ("face_tracker", 7),
        ("feature_extractor", 7),
        ("sequence_classifier", 7),
    ]
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
    }


def test_one_clip_fits_the_detectors_batch_and_all_tracks_the_extractors() -> None:
    detector, extractor = contracts.face_detector(), contracts.feature_extractor()
    classifier = contracts.sequence_classifier()
    assert detector.max_batch_size >= contracts.MAX_FRAMES
    assert min(extractor.max_batch_size, classifier.max_batch_size) >= contracts.MAX_FACES
