"""From events of a job to messages of deepfake.v1.

Both have the keys of the documented JSON; protobuf's own JSON mapping carries one to the other.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from deepfake_triton.gateway.grpc_service import messages
from deepfake_triton.gateway.jobs.events import Decoded, Judged, Queued, WindowJudged


def message_from_event(event: Queued | Decoded | WindowJudged | Judged) -> Any:
    """Return the DetectEvent of an event."""
    return json_format.ParseDict(
        {event.name: event.as_dict()}, messages.DetectEvent(), ignore_unknown_fields=True
    )
