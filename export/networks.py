"""The two networks as they are exported: everything between uint8 crops and a probability is inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepfake_triton.contracts import FAKE, FEATURE_SIZE
from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import ModelFacts


class FeatureExtractor(nn.Module):
    """`faces` [B, T, S, S, 3] uint8 RGB to `features` [B, T, 2048] float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ResNeXt50, facts: ModelFacts) -> None:
        super().__init__()
        self.backbone = backbone
        self.reverse_channels = facts.channel_order == "bgr"
        self.register_buffer("mean", torch.tensor(facts.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(facts.std).reshape(1, 3, 1, 1))

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        pixels = faces.float()  # first of all: TensorRT takes uint8 only straight into a Cast
        batch, frames = pixels.shape[0], pixels.shape[1]
        features = self.backbone(self.pictures(pixels.flatten(0, 1)))
        return torch.reshape(features, (batch, frames, FEATURE_SIZE))

    def pictures(self, pixels: Tensor) -> Tensor:
        """Crops [N, S, S, 3] float RGB in 0…255 to what the backbone takes."""
        return normalised(pixels, self.mean, self.std, self.reverse_channels)


def normalised(pixels: Tensor, mean: Tensor, std: Tensor, reverse_channels: bool) -> Tensor:
    """Crops [N, S, S, 3] float RGB in 0…255 to what a backbone takes: [N, 3, S, S].

    `mean` and `std` [1, 3, 1, 1] are in the channels' order after the reversal. Served and trained alike.
    """
    pictures = pixels.permute(0, 3, 1, 2)
    if reverse_channels:
        pictures = pictures.flip(1)
    return (pictures / 255 - mean) / std


class SequenceClassifier(nn.Module):
    """`features` [B, T, 2048] to `logits` [B, 2] (real, fake) and `fake_probability` [B, 1].

    `per-frame` treats every frame as a sequence of one step from the zero state: what the published code
    does to a single video, because its LSTM takes time for the batch.
    """

    def __init__(self, lstm: nn.Module, head: nn.Linear, facts: ModelFacts) -> None:
        super().__init__()
        self.lstm = lstm
        self.head = head
        self.facts = facts

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        logits = self.head(self._pooled(features))
        if self.facts.label_order == "fake-real":
            logits = logits.flip(1)
        scaled = logits if self.facts.calibration_scale == 1 else logits * self.facts.calibration_scale
        if self.facts.calibration_shift:
            scaled = scaled + torch.eye(2, device=scaled.device)[FAKE] * self.facts.calibration_shift
        return logits, torch.softmax(scaled, dim=1)[:, FAKE : FAKE + 1]

    def _pooled(self, features: Tensor) -> Tensor:
        last = self.facts.pooling == "last"
        if self.facts.temporal == "sequence":
            states: Tensor = self.lstm(features)[0]
            return states[:, -1] if last else states.mean(dim=1)
        if last:  # one-step sequences do not see each other, so the others need no computing
            features = features[:, -1:]
        batch, frames = features.shape[0], features.shape[1]
        states = self.lstm(features.flatten(0, 1).unsqueeze(1))[0]
        return states.reshape(batch, frames, self.head.in_features).mean(dim=1)


class OneStepLSTM(nn.Module):
    """What is left of an LSTM for one step from the zero state: no recurrence and no forget gate.

    [N, 1, D] to ([N, 1, H],), as `nn.LSTM(batch_first=True)` answers.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        self.gates = nn.ModuleList(_one_step_gates(lstm, layer) for layer in range(lstm.num_layers))

    def forward(self, steps: Tensor) -> tuple[Tensor]:
        """See the class."""
        state = steps[:, 0]
        for gates in self.gates:
            stacked, size = gates(state), self.hidden_size
            enter, candidate, leave = stacked[:, :size], stacked[:, size : 2 * size], stacked[:, 2 * size :]
            cell = torch.sigmoid(enter) * torch.tanh(candidate)
            state = torch.sigmoid(leave) * torch.tanh(cell)
        return (state.unsqueeze(1),)


def _one_step_gates(lstm: nn.LSTM, layer: int) -> nn.Linear:
    """PyTorch stacks the gates i, f, g, o; the forget gate multiplies a zero state and goes."""

    def kept(stacked: Tensor) -> Tensor:
        enter, _, candidate, leave = stacked.chunk(4, dim=0)
        return torch.cat([enter, candidate, leave])

    weight = kept(getattr(lstm, f"weight_ih_l{layer}"))
    gates = nn.Linear(weight.shape[1], weight.shape[0], bias=lstm.bias)
    with torch.no_grad():
        gates.weight.copy_(weight)
        if lstm.bias:
            biases = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
            gates.bias.copy_(kept(biases))
    return gates


def exportable(classifier: SequenceClassifier) -> SequenceClassifier:
    """The classifier without the half of its LSTM that a per-frame one never uses."""
    if classifier.facts.temporal == "sequence" or not isinstance(classifier.lstm, nn.LSTM):
        return classifier
    return SequenceClassifier(OneStepLSTM(classifier.lstm), classifier.head, classifier.facts)
