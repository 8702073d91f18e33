"""Turn weights of your own into a model repository: a state dict, the metadata that it needs, and `export`.

The weights here are random; put those of your training in their place. Further options go to `export`.

Run: python examples/custom_checkpoint.py my_repository
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn

from deepfake_triton import cli
from deepfake_triton.models.resnext import ResNeXt50

METADATA = {
    "temporal": "sequence",  # a true sequence model, batch_first
    "pooling": "mean",  # of the outputs over time
    "label_order": "real-fake",  # output 1 is FAKE
    "channel_order": "rgb",
    "crop_side": "112",
    "crop_margin": "0.05",
    "operating_points": json.dumps({"balanced": 0.6}),  # FAKE at or above
    "real_at_most": json.dumps({"balanced": 0.4}),  # REAL at or below, uncertain between them
}


def write_checkpoint(path: Path) -> None:
    """Write the project's own layout: torchvision's names under `backbone.`, then `lstm.` and `linear1.`."""
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "backbone": ResNeXt50(),  # torchvision's resnext50_32x4d without its last layer does as well
            "lstm": nn.LSTM(2048, 256, batch_first=True),
            "linear1": nn.Linear(256, 2),
        }
    )
    torch.save({"state_dict": model.state_dict(), "metadata": METADATA}, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    args, options = parser.parse_known_args()
    checkpoint = args.repository.with_name("custom.pt")
    write_checkpoint(checkpoint)
    return cli.main(["export", "--checkpoint", str(checkpoint), "--output", str(args.repository), *options])


if __name__ == "__main__":
    sys.exit(main())
