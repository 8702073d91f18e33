"""Progress of a command on a terminal: its current stages, with the estimated time left.

Code that takes long says `with stage("frames", total=120) as bar` and `bar.advance()`. Stages are displayed
only inside `show_progress()` with stderr on a terminal; a caller of the library sees nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO, TypeVar

from deepfake_triton.console.terminal import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, Task, TaskID

T = TypeVar("T")

_SPEED_PERIOD_S = 600.0
"""Period from which the time left is estimated: a step may take minutes."""


class Stage:
    """One line on the terminal, or nothing where progress is not displayed. Thread-safe."""

    def __init__(self, display: _Display | None, task: TaskID | None) -> None:
        self._display, self._task = display, task

    def advance(self, count: int = 1) -> None:
        """Advance by `count` steps."""
        if self._display and self._task is not None:
            self._display.bars.advance(self._task, count)

    def update(self, name: str | None = None, done: int | None = None, total: int | None = None) -> None:
        """Change the name, the number of steps done, or the total; None keeps the value."""
        if self._display and self._task is not None:
            description = None if name is None else printable(name)
            self._display.bars.update(self._task, description=description, completed=done, total=total)


@contextmanager
def show_progress(stream: TextIO | None = None) -> Iterator[None]:
    """Display stages on `stream` (stderr by default) if that is a terminal with a movable cursor, and rich is
    installed."""
    if _DISPLAY.get() is not None:
        yield
        return
    token = _DISPLAY.set(_open_display(stream or sys.stderr))
    try:
        yield
    finally:
        _DISPLAY.reset(token)


def is_progress_shown() -> bool:
    """Return whether stages are displayed."""
    return _current() is not None


@contextmanager
def stage(name: str, total: int | None = None, unit: str = "", *, steady: bool = True) -> Iterator[Stage]:
    """Display a stage for as long as the block runs: `total` steps of a `unit`, or an unknown number.

    The time left is estimated for steps of equal duration (`steady`).
    """
    display = _current()
    if display is None:
        yield Stage(None, None)
        return
    task = display.bars.add_task(printable(name), total=total, unit=unit, steady=steady)
    try:  # Ctrl-C may come at once
        display.begin()
        yield Stage(display, task)
    finally:
        display.end(task)


def track_progress(items: Iterable[T], name: str, unit: str = "", *, total: int | None = None) -> Iterator[T]:
    """Yield the items, as a stage with one step per item."""
    length = len(items) if total is None and isinstance(items, Sized) else total
    with stage(name, length, unit) as bar:
        for item in items:
            yield item
            bar.advance()


@contextmanager
def pause_progress() -> Iterator[None]:
    """Hide the stages while something else is written to the terminal."""
    display = _current()
    if display is None:
        yield
    else:
        with display.paused():
            yield


class _Display:
    """Lines on a terminal, displayed only while a stage runs: in between, the terminal is the command's."""

    def __init__(self, stream: TextIO) -> None:
        """Raises ImportError without rich."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn
        from rich.table import Column
        from rich.text import Text

        class ProgressConsole(Console):
            def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - a killed run would leave none
                return False

        class NameColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(task.description, overflow="ellipsis", no_wrap=True)

        class AmountColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(_format_amount(task), style="progress.remaining")

        self._console = ProgressConsole(file=stream, force_terminal=True, highlight=False)
        self.bars: Progress = Progress(
            NameColumn(table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=20),
            AmountColumn(table_column=Column(no_wrap=True)),
            console=self._console,
            speed_estimate_period=_SPEED_PERIOD_S,
            expand=True,
        )
        self.process_id = os.getpid()
        self._lock = threading.RLock()
        self._live: Live | None = None

    def begin(self) -> None:
        """Show a new line at once: the next regular refresh may come after its stage has ended."""
        with self._lock:
            if self._live is None:
                self._show()
            else:
                self._live.refresh()

    def end(self, task: TaskID) -> None:
        with self._lock:
            if len(self.bars.tasks) == 1:
                self._hide()
            self.bars.remove_task(task)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            self._hide()
            try:
                yield
            finally:
                if self.bars.tasks:
                    self._show()

    def _show(self) -> None:
        from rich.live import Live

        self._live = Live(  # a new one each time: an old one would erase what was written meanwhile
            console=self._console,
            get_renderable=self.bars.get_renderable,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=8,
        )
        self._live.start(refresh=True)

    def _hide(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


_DISPLAY: ContextVar[_Display | None] = ContextVar("deepfake_triton_display", default=None)


def _current() -> _Display | None:
    """Return the display, None in a forked process: the terminal is its parent's."""
    display = _DISPLAY.get()
    return display if display is not None and display.process_id == os.getpid() else None


def _open_display(stream: TextIO | None) -> _Display | None:
    """Return None where nothing can be displayed; `stream` is None in a process with a closed stderr."""
    try:
        if stream is None or not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            return None
        return _Display(stream)
    except (ImportError, ValueError):  # without rich, or a stream that is closed
        return None


def _format_amount(task: Task) -> str:
    """Format the steps and times, such as `3 of 20 videos, 0:12 left`."""
    unit = f" {task.fields['unit']}" if task.fields["unit"] else ""
    parts = []
    if task.total is not None:
        parts.append(f"{task.completed:.0f} of {task.total:.0f}{unit}")
    elif task.completed:
        parts.append(f"{task.completed:.0f}{unit}")
    if task.total is not None and task.time_remaining is not None and task.fields["steady"]:
        parts.append(f"{_format_duration(task.time_remaining)} left")
    elif task.elapsed is not None:
        parts.append(_format_duration(task.elapsed))
    return ", ".join(parts)


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
