"""The extractor and the classifier as exported, from uint8 crops to a calibrated probability of FAKE."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepfake_triton.contracts import FAKE, FEATURE_SIZE
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.resnext import ResNeXt50


class FeatureExtractor(nn.Module):
    """Backbone with preprocessing: `faces` uint8 RGB [B, T, S, S, 3] to `features` float32 [B, T, 2048]."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ResNeXt50, metadata: ModelMetadata) -> None:
        super().__init__()
        self.backbone = backbone
        self.reverse_channels = metadata.channel_order == "bgr"
        self.register_buffer("mean", torch.tensor(metadata.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(metadata.std).reshape(1, 3, 1, 1))

    def forward(self, faces: Tensor) -> Tensor:
        """Return `features` [B, T, 2048] of `faces` [B, T, S, S, 3]."""
        pixels = faces.float()  # first of all: TensorRT takes uint8 only straight into a Cast
        batch, frames = pixels.shape[0], pixels.shape[1]
        features = self.backbone(self.preprocess(pixels.flatten(0, 1)))
        return torch.reshape(features, (batch, frames, FEATURE_SIZE))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return the backbone's input [N, 3, S, S] for crops [N, S, S, 3], float RGB in 0…255."""
        return normalize_crops(pixels, self.mean, self.std, reverse_channels=self.reverse_channels)


def normalize_crops(pixels: Tensor, mean: Tensor, std: Tensor, *, reverse_channels: bool) -> Tensor:
    """Normalize crops [N, S, S, 3], float RGB in 0…255, to a backbone's input [N, 3, S, S].

    `mean` and `std` [1, 3, 1, 1] are in the order of the channels after the reversal. Training and the served
    graph share this function.
    """
    images = pixels.permute(0, 3, 1, 2)
    if reverse_channels:
        images = images.flip(1)
    return (images / 255 - mean) / std


class SequenceClassifier(nn.Module):
    """LSTM and linear head: `features` [B, T, 2048] to `logits` [B, 2] and `fake_probability` [B, 1].

    Logits are in the order real, fake, whatever the checkpoint's. `per-frame` treats every frame as a
    sequence of one step from the zero state: what the published code does to a single video, because its LSTM
    takes the time axis for the batch.
    """

    def __init__(self, lstm: nn.Module, head: nn.Linear, metadata: ModelMetadata) -> None:
        super().__init__()
        self.lstm = lstm
        self.head = head
        self.metadata = metadata

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return `logits` [B, 2] and the calibrated `fake_probability` [B, 1]."""
        logits = self.head(self._pooled(features))
        if self.metadata.label_order == "fake-real":
            logits = logits.flip(1)
        scaled = logits if self.metadata.calibration_scale == 1 else logits * self.metadata.calibration_scale
        if self.metadata.calibration_shift:
            scaled = scaled + torch.eye(2, device=scaled.device)[FAKE] * self.metadata.calibration_shift
        return logits, torch.softmax(scaled, dim=1)[:, FAKE : FAKE + 1]

    def _pooled(self, features: Tensor) -> Tensor:
        last = self.metadata.pooling == "last"
        if self.metadata.temporal == "sequence":
            states: Tensor = self.lstm(features)[0]
            return states[:, -1] if last else states.mean(dim=1)
        if last:  # one-step sequences do not see each other, so the others need no computing
            features = features[:, -1:]
        batch, frames = features.shape[0], features.shape[1]
        states = self.lstm(features.flatten(0, 1).unsqueeze(1))[0]
        return states.reshape(batch, frames, self.head.in_features).mean(dim=1)


class OneStepLSTM(nn.Module):
    """An LSTM for one step from the zero state: without recurrence and forget gate.

    Takes [N, 1, D] and returns a tuple of [N, 1, H], as `nn.LSTM(batch_first=True)` does.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        self.gates = nn.ModuleList(_build_one_step_gates(lstm, layer) for layer in range(lstm.num_layers))

    def forward(self, steps: Tensor) -> tuple[Tensor]:
        """Return the hidden state ([N, 1, H],) after `steps` [N, 1, D]."""
        state = steps[:, 0]
        for gates in self.gates:
            stacked, size = gates(state), self.hidden_size
            enter, candidate, leave = stacked[:, :size], stacked[:, size : 2 * size], stacked[:, 2 * size :]
            cell = torch.sigmoid(enter) * torch.tanh(candidate)
            state = torch.sigmoid(leave) * torch.tanh(cell)
        return (state.unsqueeze(1),)


def _build_one_step_gates(lstm: nn.LSTM, layer: int) -> nn.Linear:
    """Return one layer without its forget gate, which multiplies a zero state. PyTorch stacks i, f, g, o."""

    def without_forget_gate(stacked: Tensor) -> Tensor:
        enter, _, candidate, leave = stacked.chunk(4, dim=0)
        return torch.cat([enter, candidate, leave])

    weight = without_forget_gate(getattr(lstm, f"weight_ih_l{layer}"))
    gates = nn.Linear(weight.shape[1], weight.shape[0], bias=lstm.bias)
    with torch.no_grad():
        gates.weight.copy_(weight)
        if lstm.bias:
            biases = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
            gates.bias.copy_(without_forget_gate(biases))
    return gates


def simplify_for_export(classifier: SequenceClassifier) -> SequenceClassifier:
    """Return a per-frame classifier with `OneStepLSTM` for its LSTM, and any other as it is."""
    if classifier.metadata.temporal == "sequence" or not isinstance(classifier.lstm, nn.LSTM):
        return classifier
    return SequenceClassifier(OneStepLSTM(classifier.lstm), classifier.head, classifier.metadata)
