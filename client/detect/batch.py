"""One video of the command line: its verdict, its line of results, its plot and its overlay."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepfake_triton.client.detect.inputs import NamedVideo
from deepfake_triton.client.detect.result_line import ResultLine, RunConditions
from deepfake_triton.client.detect.results_file import ResultsFile
from deepfake_triton.client.provenance import CredentialsProcess
from deepfake_triton.client.rendering.drawings import Drawings, draw
from deepfake_triton.client.rendering.formatting import verdict_text
from deepfake_triton.client.sync_client import DeepfakeClient
from deepfake_triton.client.verdicts.content_credentials import ContentCredentials
from deepfake_triton.client.verdicts.verdict import VideoFailure, VideoVerdict
from deepfake_triton.client.wire.request_log import LOGGER
from deepfake_triton.console.progress import Stage, stage
from deepfake_triton.contracts import MAX_FACES
from deepfake_triton.errors import DatasetError, DeepfakeError, InputError
from deepfake_triton.files.outputs import OutputFile
from deepfake_triton.preprocessing.video.sampling import FrameSelection


@dataclass(frozen=True)
class Outcome:
    """Outcome for one video: its line of JSON, its text (empty without a verdict), and warnings for stderr.

    `failed`: the verdict or a drawing is missing. `keeps_earlier`: the failure says nothing about the video,
    so that an earlier verdict may hold.
    """

    line: ResultLine
    text: str
    warnings: tuple[str, ...] = ()
    failed: bool = False
    keeps_earlier: bool = False


@dataclass
class _Progress:
    """Progress of one video: the `files` to draw and those `drawn`, the verdict, the Content Credentials
    beside it, and what went wrong."""

    files: tuple[OutputFile, ...]
    drawn: list[str] = field(default_factory=list)
    verdict: VideoVerdict | None = None
    credentials: ContentCredentials | None = None
    errors: list[Exception] = field(default_factory=list)


class BatchDetector:
    """Detection of many videos, with resumption, drawings and results. Usable from many threads."""

    def __init__(
        self,
        client: DeepfakeClient,
        selection: FrameSelection,
        *,
        results: ResultsFile | None,
        drawings: Drawings,
        conditions: Callable[[str], RunConditions],
        c2pa_trust: Path | None = None,
    ) -> None:
        """`conditions` returns what the verdict on a video depends on; `c2pa_trust` is PEM of the authorities
        whose Content Credentials are trusted."""
        self._client, self._selection, self._results = client, selection, results
        self._drawings, self._conditions = drawings, conditions
        self._c2pa_trust = c2pa_trust
        self._claimed: set[Path] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def detect(self, number: int, video: NamedVideo) -> Outcome:
        """Detect a video, unless an earlier run has it, and draw what was requested. Every error
        becomes the outcome of that video."""
        conditions = self._conditions(video.path) if self._results else None
        progress = _Progress(self._drawings.files(number, video.path))
        try:
            earlier = self._earlier_line(video.path, conditions, progress.files)
            if earlier is not None:
                return Outcome(earlier, earlier.text())
            with stage(Path(video.path).name, unit="windows") as bar:
                self._detect(video, progress, bar)
        except concurrent.futures.CancelledError:
            if self._is_stopped:
                raise
            progress.errors.append(DeepfakeError(f"{video.path}: its request was cancelled"))
        except DeepfakeError as error:
            progress.errors.append(error)
        except Exception as error:  # one video's fault is not the others'
            if self._is_stopped:
                raise
            LOGGER.exception("%s: %s", video.path, type(error).__name__)
            progress.errors.append(error)
        return self._store(video.path, self._outcome(video.path, progress, conditions))

    def stop(self) -> None:
        """Record nothing any more: videos that end from now on were interrupted."""
        self._is_stopped = True

    def _earlier_line(
        self, video: str, conditions: RunConditions | None, files: tuple[OutputFile, ...]
    ) -> ResultLine | None:
        """Return the line of an earlier run if it still holds and all its drawings are there. Raises
        ServerError, since the server tells which model it has."""
        line = self._results.verdict_on(video) if self._results else None
        if line is None or conditions is None or not line.matches_conditions(conditions):
            return None
        if not all(str(file.path) in line.drawn and file.path.is_file() for file in files):
            return None
        return line if line.matches_model(self._client.model()) else None

    def _detect(self, video: NamedVideo, progress: _Progress, bar: Stage) -> None:
        if video.error:
            raise video.error
        name = Path(video.path).name

        def count(answered: int, expected: int) -> None:
            bar.update(f"{name}: infer", answered, expected if expected > 1 else None)

        with self._read_credentials(video.path, progress):
            progress.verdict = verdict = self._client.detect(
                video.path, self._selection, lambda doing: bar.update(f"{name}: {doing}"), count
            )
        for file in progress.files:
            bar.update(f"{name}: {file.option.lstrip('-')}")
            try:
                if self._claims(file.path):
                    draw(file, verdict)
                progress.drawn.append(str(file.path))
            except DeepfakeError as error:  # the verdict stands, but a drawing is missing
                progress.errors.append(error)

    @contextlib.contextmanager
    def _read_credentials(self, video: str, progress: _Progress) -> Iterator[None]:
        """Read the Content Credentials while the block judges the video."""
        process = CredentialsProcess(video, self._c2pa_trust)
        try:
            yield
            progress.credentials = process.result()
        except InputError:
            progress.credentials = process.result()
            raise
        finally:
            process.close()

    def _claims(self, path: Path) -> bool:
        """Whether this thread draws the file: a video that is named twice is drawn once."""
        with self._lock:
            is_free = path not in self._claimed
            self._claimed.add(path)
            return is_free

    def _outcome(self, video: str, progress: _Progress, conditions: RunConditions | None) -> Outcome:
        messages = tuple(_message(video, error) for error in progress.errors)
        stored = conditions.to_json() if conditions else {}
        verdict = progress.verdict
        if verdict is not None:
            verdict = replace(verdict, content_credentials=progress.credentials)
        else:
            error = progress.errors[0]
            kind = type(error).__name__
            failure = VideoFailure(
                video, kind, messages[0], self._client.known_model, content_credentials=progress.credentials
            )
            line = ResultLine({**failure.as_dict(), **stored})
            return Outcome(line, "", messages, failed=True, keeps_earlier=not isinstance(error, InputError))
        if progress.files and self._results:
            stored["drawn"] = progress.drawn
        line = ResultLine({**verdict.as_dict(), **stored})
        warnings = (*_warnings(verdict), *messages)
        return Outcome(line, verdict_text(verdict), warnings, failed=bool(progress.errors))

    def _store(self, video: str, outcome: Outcome) -> Outcome:
        """Add the outcome's line to the results file, and return the outcome with a warning if that
        failed."""
        if self._results is None or self._is_stopped:
            return outcome
        if outcome.keeps_earlier and self._results.verdict_on(video) is not None:
            return outcome
        try:
            self._results.add(outcome.line)
        except DatasetError as error:
            warnings = (*outcome.warnings, f"{video}: its line is not stored: {error}")
            return replace(outcome, warnings=warnings, failed=True)
        return outcome


def _message(video: str, error: Exception) -> str:
    if isinstance(error, DeepfakeError):
        return str(error)
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{video}: failed unexpectedly, {reason}; --log text shows where"


def _warnings(verdict: VideoVerdict) -> tuple[str, ...]:
    warnings = []
    if verdict.fault:
        frames = verdict.frames_decoded
        warnings.append(
            f"{verdict.video}: truncated: {verdict.fault}; judged by the {frames} frames that decode"
        )
    if count := verdict.faces_left_out:
        warnings.append(
            f"{verdict.video}: {count} {'face' if count == 1 else 'faces'} left out: more than {MAX_FACES}, "
            "or seen in too few frames"
        )
    return tuple(warnings)
