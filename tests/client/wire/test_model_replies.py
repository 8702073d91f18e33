"""The model behind an endpoint, from what a server says of it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client import ModelInfo
from deepfake_triton.client.wire.model_replies import model_info_from_replies
from deepfake_triton.errors import ContractMismatch
from deepfake_triton.operating_point import OperatingPoint

pytestmark = pytest.mark.fast

METADATA: dict[str, Any] = {
    "inputs": [{"name": "frames", "datatype": "UINT8", "shape": ["-1", "-1", "-1", "3"]}],
    "outputs": [
        {"name": "fake_probability", "datatype": "FP32", "shape": ["-1", "1"]},
        {"name": "boxes", "datatype": "FP32", "shape": ["-1", "-1", "4"]},
        {"name": "observed", "datatype": "BOOL", "shape": ["-1", "-1"]},
        {"name": "faces_left_out", "datatype": "INT32", "shape": ["1"]},
    ],
}
CONFIG = {
    "parameters": {
        "weights": {"string_value": "default"},
        "export_version": {"string_value": "3"},
        "export_sha256": {"string_value": "cd" * 32},
        "operating_points": {"string_value": '{"default": 0.7, "conservative": 0.9}'},
    }
}


def read_model(
    metadata: dict[str, Any], config: dict[str, Any], operating_point: str | None = None
) -> ModelInfo:
    replies = (
        ParseDict(metadata, pb.ModelMetadataResponse()),
        ParseDict({"config": config}, pb.ModelConfigResponse()),
    )
    return model_info_from_replies(*replies, operating_point)


def test_the_model_says_what_it_is() -> None:
    info = read_model(METADATA, CONFIG)
    assert (info.version, info.weights, info.sha256, info.operating_point) == ("3", "default", "cd" * 32, 0.7)


def test_the_operating_point_is_the_server_s_chosen_by_name() -> None:
    assert read_model(METADATA, CONFIG, "conservative").operating_point == 0.9
    points = {"string_value": '{"balanced": 0.5, "conservative": 0.8}'}
    trained = {"parameters": {**CONFIG["parameters"], "operating_points": points}}
    assert read_model(METADATA, trained).operating_point == 0.5
    points = {"string_value": '{"strict": 0.9, "default": 0.5}'}
    without_balanced = {"parameters": {**CONFIG["parameters"], "operating_points": points}}
    info = read_model(METADATA, without_balanced)
    assert (info.operating_point_name, info.operating_point) == ("default", 0.5)
    with pytest.raises(ContractMismatch, match="'lenient': the server's model has balanced, conservative"):
        read_model(METADATA, trained, "lenient")


def test_an_operating_point_has_two_borders_where_the_server_names_them() -> None:
    thresholds = {"real_at_most": {"string_value": '{"default": 0.2}'}}
    with_both = {"parameters": {**CONFIG["parameters"], **thresholds}}
    assert read_model(METADATA, with_both).thresholds == OperatingPoint("default", 0.2, 0.7)
    assert read_model(METADATA, with_both, "conservative").thresholds == OperatingPoint(
        "conservative", 0.9, 0.9
    )
    assert read_model(METADATA, CONFIG).thresholds == OperatingPoint("default", 0.7, 0.7)
    assert read_model(METADATA, CONFIG).borders == OperatingPoint("default", 0.7, 0.7), "the former name"


@pytest.mark.parametrize(
    ("metadata", "config", "says"),
    [
        ({"inputs": [], "outputs": METADATA["outputs"]}, CONFIG, "input frames: the server has nothing"),
        (
            {**METADATA, "inputs": [{"name": "frames", "datatype": "FP32", "shape": ["-1", "3"]}]},
            CONFIG,
            r"the server has FP32 \[-1, 3\], this client expects UINT8",
        ),
        ({**METADATA, "outputs": METADATA["outputs"][:2]}, CONFIG, "output observed"),
        (
            {
                **METADATA,
                "outputs": [
                    *METADATA["outputs"][:3],
                    {"name": "faces_left_out", "datatype": "FP32", "shape": [1]},
                ],
            },
            CONFIG,
            r"output faces_left_out: the server has FP32 \[1\], this client expects INT32",
        ),
        (METADATA, {"parameters": {}}, "weights, export_version, export_sha256"),
        *(
            (
                METADATA,
                {"parameters": {**CONFIG["parameters"], key: {"string_value": text}}},
                f"{key}: got .*{text}",
            )
            for text in ("no json", "7", '{"default": "x"}')
            for key in ("operating_points", "real_at_most")
        ),
    ],
)
def test_another_contract_is_refused(metadata: dict[str, Any], config: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractMismatch, match=says):
        read_model(metadata, config)


def test_a_server_of_an_older_export_is_served_all_the_same() -> None:
    assert read_model({**METADATA, "outputs": METADATA["outputs"][:3]}, CONFIG).weights == "default"
