"""Lists of videos from other programs: CSV with a column `path`, or JSON lines with a key `path`."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError

LIST_SUFFIXES = (".csv", ".jsonl", ".ndjson")
_COLUMNS = ("path", "video", "file")
_DELIMITERS = (",", ";", "\t", "|")
"""Delimiters of spreadsheets, which depend on the decimal separator of their language."""
_WIDE_ENCODINGS = (
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)


@dataclass(frozen=True)
class ListedName:
    """A video as a list names it; or a line that names none, such as `list.csv, line 3`, with the error."""

    name: str
    error: DatasetError | None = None


def read_list(path: Path) -> list[ListedName]:
    """Read the rows of a list that are not empty.

    Byte order marks, UTF-16, UTF-32 and delimiters of spreadsheets are understood, and names that are not
    valid UTF-8 are kept. Raises DatasetError, with the first line, where no row names a video.
    """
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    try:
        rows = list(read(path, _text(path)))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a list of videos: {error}") from error
    if rows and rows[0].error and all(row.error for row in rows):
        raise rows[0].error
    return rows


def _text(path: Path) -> str:
    content = path.read_bytes()
    for mark, encoding in _WIDE_ENCODINGS:
        if content.startswith(mark):
            return content.decode(encoding)
    encoding = _unmarked_encoding(content[:4])
    return content.decode(encoding, errors="surrogateescape" if encoding == "utf-8-sig" else "strict")


def _unmarked_encoding(start: bytes) -> str:
    """Detect the encoding by the position of zeros, since a list begins with ASCII (RFC 4627, section 3)."""
    zeros = "".join("0" if byte == 0 else "x" for byte in start)
    wide = {"x000": "utf-32-le", "000x": "utf-32-be", "x0": "utf-16-le", "0x": "utf-16-be"}
    return wide.get(zeros) or wide.get(zeros[:2], "utf-8-sig")


def _csv_rows(path: Path, text: str) -> Iterator[ListedName]:
    text = re.sub(r"\A\s*sep=.(?=[\r\n])", "", text, flags=re.IGNORECASE)  # Excel's own first line
    lines = list(io.StringIO(text, newline=""))
    headers = {delimiter: _next_row(_reader(lines, delimiter)) or [] for delimiter in _DELIMITERS}
    delimiter = next((mark for mark, cells in headers.items() if _column(cells) is not None), ",")
    cells = headers[delimiter]
    column = _column(cells)
    if column is None:
        raise DatasetError(f"{path}: got the columns {cells}, expected one named path")
    spaced = any(cell != cell.lstrip() for cell in cells)
    reader = _reader(lines, delimiter, spaced)
    _next_row(reader)
    reader_of = partial(_reader, delimiter=delimiter, spaced=spaced)
    for number, row in _numbered(lines, reader.line_num, reader_of):
        if isinstance(row, str):
            yield _no_video(path, number, row)
        elif len(row) <= column or not row[column].strip():
            yield _no_video(path, number, f"{cells[column].strip()} is empty")
        else:
            yield ListedName(_without_padding(path.parent, row[column]))


def _numbered(
    lines: Sequence[str], start: int, reader_of: Callable[[Sequence[str]], Any]
) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the rows from line `start` (from 0) on that are not blank, with their line numbers (from 1).

    A line that cannot be read is yielded as a message; the next row begins after it, also after a quote that
    is not closed.
    """
    while start < len(lines):
        reader, fault = reader_of(lines[start:]), None
        before = 0
        try:
            for row in reader:
                rest_is_one_row = start + reader.line_num == len(lines) and reader.line_num - before > 1
                if rest_is_one_row and "".join(lines[start + before :]).count('"') % 2:
                    fault = "a quote is not closed"
                    break
                if any(cell.strip() for cell in row):
                    yield start + reader.line_num, row
                before = reader.line_num
        except csv.Error as error:
            fault = str(error)
        if fault is None:
            return
        start += before + 1
        yield start, fault


def _next_row(reader: Any) -> list[str] | None:
    """Return the next row that is not blank; None at the end."""
    return next((row for row in reader if any(cell.strip() for cell in row)), None)


def _without_padding(folder: Path, cell: str) -> str:
    """Strip trailing blanks of a cell, as in `a.mp4 , 1`, where only the stripped name is a file."""
    bare = cell.rstrip()
    return bare if not os.path.lexists(folder / cell) and os.path.lexists(folder / bare) else cell


def _no_video(path: Path, line: int, why: str) -> ListedName:
    place = f"{path}, line {line}"
    return ListedName(place, DatasetError(f"{place}: {why}"))


def _reader(lines: Sequence[str], delimiter: str, spaced: bool = False) -> Any:
    """Return a CSV reader; `spaced` skips the spaces after delimiters."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced)


def _column(header: Sequence[str]) -> int | None:
    """Return the index of the column of videos; None without one."""
    names = [cell.strip(' "').casefold() for cell in header]
    return next((names.index(column) for column in _COLUMNS if column in names), None)


def _json_rows(path: Path, text: str) -> Iterator[ListedName]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _no_video(path, number, f"is no JSON: {error}")
            continue
        video = row if isinstance(row, str) else None
        if isinstance(row, dict):
            video = next((row[name] for name in _COLUMNS if name in row), None)
        if not isinstance(video, str) or not video:
            yield _no_video(path, number, 'expected an object such as {"path": "a.mp4"}')
        else:
            yield ListedName(video)
