"""Receive the file of a call into the spool, with one chunk in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from deepfake_triton.errors import UploadMalformed
from deepfake_triton.gateway.grpc_service.messages import part_of
from deepfake_triton.gateway.grpc_service.options import DetectOptions
from deepfake_triton.gateway.time_limit import within
from deepfake_triton.gateway.uploads import upload_pace
from deepfake_triton.gateway.uploads.spool import Spool, Upload
from deepfake_triton.gateway.uploads.upload_pace import in_time


async def first_message(context: Any) -> Any:
    """Return the first DetectRequest of a call. Raises UploadMalformed when none comes."""
    try:
        message = await within(context.read(), upload_pace.IDLE_S)
    except asyncio.TimeoutError as error:
        raise UploadMalformed(f"upload: nothing came for {upload_pace.IDLE_S:g} s; send it again") from error
    if message is grpc.aio.EOF:
        raise UploadMalformed("upload: got no message, expected options and the file in chunks")
    return message


async def receive_file(context: Any, options: DetectOptions, spool: Spool) -> Upload:
    """Return the file that the chunks of a call make up; whoever holds it closes it.

    Raises:
        UploadMalformed: No bytes or not as many as declared, a message that is no chunk, or one too slow.
        UploadTooLarge: More bytes than the spool takes.
        SpoolFull: No room on the disk.
    """
    declared = options.size_bytes
    async with spool.receive(declared) as writer:
        async for chunk in in_time(_chunks_in(context), lambda reason: UploadMalformed(f"upload: {reason}")):
            await writer.write(chunk)
            if declared is not None and writer.size_bytes > declared:
                raise UploadMalformed(f"upload: got more bytes than size_bytes = {declared}")
        if declared is not None and writer.size_bytes < declared:
            raise UploadMalformed(f"upload: got {writer.size_bytes} bytes, expected size_bytes = {declared}")
        if not writer.size_bytes:
            raise UploadMalformed("upload: got no bytes, expected the file in chunks after the options")
        return await writer.finish(options.file_name)


async def _chunks_in(context: Any) -> AsyncIterator[bytes]:
    while (message := await context.read()) is not grpc.aio.EOF:
        if (got := part_of(message)) != "chunk":
            raise UploadMalformed(f"message after the options: got {got}, expected a chunk")
        yield message.chunk
