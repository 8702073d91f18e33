"""A limit on the time of an awaitable that passes on every cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def within(awaitable: Awaitable[Result], seconds: float) -> Result:
    """Return what is awaited, if it comes within `seconds`. Raises asyncio.TimeoutError.

    asyncio.wait_for, before Python 3.12, drops a cancellation that arrives together with the result: a
    download that is over its time would then go on for ever.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # else asyncio logs it, and it may name a URL or a file
