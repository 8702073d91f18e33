"""Call the ensemble with `tritonclient` alone: no code of this project, only the wire contract.

Needs: pip install 'tritonclient[grpc]' av numpy

Run: python examples/raw_request.py interview.mp4 --url localhost:8001
"""

from __future__ import annotations

import argparse
import itertools
import json

import av
import numpy as np
import tritonclient.grpc as triton

MODEL = "deepfake_detector"
FRAMES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--url", default="localhost:8001")
    args = parser.parse_args()
    with av.open(args.video) as container:
        decoded = itertools.islice(container.decode(video=0), FRAMES)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])  # [T, H, W, 3] uint8

    client = triton.InferenceServerClient(args.url)
    tensor = triton.InferInput("frames", frames.shape, "UINT8")
    tensor.set_data_from_numpy(frames)
    answer = client.infer(MODEL, [tensor], client_timeout=60)
    probability = answer.as_numpy("fake_probability")  # [F, 1] float32
    boxes = answer.as_numpy("boxes")  # [F, T, 4] float32, x1 y1 x2 y2 in px
    observed = answer.as_numpy("observed")  # [F, T] bool

    config = client.get_model_config(MODEL, as_json=True)["config"]
    points = json.loads(config["parameters"]["operating_points"]["string_value"])
    print(f"FAKE at or above: {points}")
    for row in np.flatnonzero(observed.any(axis=1)):  # a row in which nothing was observed is no face
        first = int(np.argmax(observed[row]))
        box = [round(float(value)) for value in boxes[row, first]]
        print(f"face {row}: probability of FAKE {probability[row, 0]:.3f}, first at {box}")
    print(f"faces left out: {int(answer.as_numpy('faces_left_out')[0])}")


if __name__ == "__main__":
    main()
