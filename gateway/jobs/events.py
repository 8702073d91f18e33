"""Events of a job, as its followers see them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Queued:
    """The job waits; `position` 1 is the next one."""

    name: ClassVar[str] = "queued"
    position: int

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Decoded:
    """A further window was decoded, of about `num_windows`."""

    name: ClassVar[str] = "decoded"
    windows_decoded: int
    num_windows: int

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return asdict(self)


@dataclass(frozen=True)
class WindowJudged:
    """A window was judged.

    Attributes:
        windows_judged: Number of windows judged so far.
        num_windows: Expected number of all windows.
        start_seconds: Start of this window on the video's clock.
        end_seconds: Its end.
        num_faces: Faces in it.
        fake_probability: Highest probability of FAKE among them; None without a face.
    """

    name: ClassVar[str] = "window"
    windows_judged: int
    num_windows: int
    start_seconds: float
    end_seconds: float
    num_faces: int
    fake_probability: float | None

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Judged:
    """The verdict; the last event."""

    name: ClassVar[str] = "verdict"
    verdict: VideoVerdict

    def as_dict(self) -> JsonObject:
        """Return the documented JSON: the object of `detect --json`."""
        return self.verdict.as_dict()


@dataclass(frozen=True)
class Failed:
    """Why there is no verdict; the last event."""

    name: ClassVar[str] = "failed"
    error: DeepfakeError

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return {"type": type(self.error).__name__, "message": str(self.error)}


@dataclass(frozen=True)
class Canceled:
    """The job was canceled; the last event.

    Attributes:
        error: Why, where it was the gateway that canceled it.
    """

    name: ClassVar[str] = "canceled"
    error: DeepfakeError | None = None

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return {}


Event = Queued | Decoded | WindowJudged | Judged | Failed | Canceled


@dataclass(frozen=True)
class StampedEvent:
    """An event and its number, from 1."""

    id: int
    event: Event
