"""Style sheet, scripts and icon: read once, and told apart by their hash."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static_file(request: Request, name: str) -> Response:
    """Return a file of the page, or 304 where the browser has it. Raises HTTPException 404."""
    found = _files().get(name)
    if found is None:
        raise HTTPException(404)
    content, tag, media_type = found
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    if tag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": media_type})


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    files = {}
    for path in _FOLDER.iterdir():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            files[path.name] = (content, tag, _TYPES[path.suffix])
    return files
