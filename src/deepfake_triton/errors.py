"""Every error that this project raises on purpose.

::

    DeepfakeError
    ├── InputError                what the caller handed in
    │   ├── VideoNotFound         no such path
    │   ├── VideoUnreadable       a folder, no permission, a failing disk
    │   ├── NotAVideo             the bytes are no media file (or an empty one)
    │   ├── NoVideoStream         a media file without video
    │   ├── VideoTooLarge         more bytes, pixels or hours than are accepted
    │   ├── VideoUndecodable      a video from which not one frame decodes
    │   ├── InvalidFrames         an array of the wrong shape or dtype
    │   ├── InvalidOption         an argument out of range, such as a negative time
    │   ├── DecoderFailed         a file that crashed its decoding process, or used up its limits
    │   ├── InvalidBenchmark      a file without usable load figures
    │   ├── OutputRefused         an output that is an input, or cannot be written there
    │   └── InvalidTrace          a malformed W3C trace context
    ├── ServerError               a server that fails or does not respond
    │   ├── ServerUnreachable
    │   │   └── WrongEndpoint     another service at the address, or TLS required
    │   ├── DeadlineExceeded
    │   ├── ServerOverloaded      queue or memory full; the server itself is healthy
    │   ├── InvalidRequest        tensors that the server rejects
    │   ├── PermissionDenied      a call not open to this caller, or to any
    │   ├── ModelUnavailable      a model that the server does not serve
    │   │   └── ModelRestarting   its process has ended and is being restarted
    │   ├── TransportUnavailable  shared memory was requested and does not work there
    │   ├── SharedMemoryInUse     a region still held by the server for an earlier request
    │   ├── SharedMemoryLost      a region unknown to the server since its restart
    │   ├── ContractMismatch      a model whose tensors differ from the contract
    │   └── InferenceFailed       an error inside the model
    ├── ExportError
    │   ├── CheckpointError       unreadable, or of an unknown layout
    │   ├── DetectorError         detector weights missing or of an unknown layout
    │   ├── ParityError           outputs that differ from torch's, or a failed accuracy gate
    │   ├── CalibrationError      calibration data missing or too few, or INT8 beyond its error limit
    │   ├── EngineError           a graph that cannot be compiled, or an engine that differs from its record
    │   └── RepositoryConflict    a folder that cannot take a further version
    ├── ServeError
    │   ├── InvalidRepository
    │   ├── InvalidKey            an unusable key for signatures
    │   ├── InvalidInstallation   a folder without a Triton that can run this project's steps
    │   ├── PortInUse
    │   ├── SharedMemoryKeyUnusable   a key file that others can read
    │   └── ServerFailed          a server that ended, or whose model failed to load
    ├── GatewayError              a request that the gateway refuses
    │   ├── Unauthenticated       no API key, or an unknown one
    │   ├── AccessRefused         another site's request, a forged form, a host that is not allowed
    │   ├── RateLimited           more requests, or jobs at once, than the key may make
    │   ├── JobNotFound           no such job, or another caller's
    │   ├── JobNotReady           a job without the result that was asked for, as yet
    │   ├── IdempotencyConflict   the same Idempotency-Key for another request
    │   ├── UploadMalformed       a body that holds no file, or is cut off
    │   ├── UploadTooLarge        more bytes than the gateway takes
    │   ├── SpoolFull             no room on the disk for the upload
    │   ├── GatewayBusy           the gateway can take on no more at the moment
    │   ├── UrlRefused            a URL whose host or address is not allowed
    │   └── UrlUnavailable        a URL from which no video came
    ├── DatasetError              an unusable collection or manifest
    └── MissingDependency         an optional dependency that is not installed

Messages say what was got, what was expected, and what to do. Only ``cli.main`` turns one into a line
on stderr and an exit status.
"""

from __future__ import annotations


class DeepfakeError(Exception):
    """Base of all errors below."""


class InputError(DeepfakeError):
    """Input of the caller that cannot be used."""


class VideoNotFound(InputError):
    """No such path."""


class VideoUnreadable(InputError):
    """The path exists but its bytes cannot be read."""


class NotAVideo(InputError):
    """The bytes are no media file."""


class NoVideoStream(InputError):
    """The media file has no video stream."""


class VideoTooLarge(InputError):
    """The file has more bytes, pixels or hours than are accepted."""


class VideoUndecodable(InputError):
    """Not one frame of the video can be decoded."""


class InvalidFrames(InputError):
    """An array has the wrong shape or dtype."""


class InvalidOption(InputError):
    """An argument is out of range or contradicts another."""


class DecoderFailed(InputError):
    """The file crashed the process that decoded it, or used more memory or time than it may."""


class InvalidBenchmark(InputError):
    """A file holds no load figures from which capacity can be planned."""


class OutputRefused(InputError):
    """An output is one of the inputs, or cannot be written there."""


class InvalidTrace(InputError):
    """A trace context is malformed."""


class ServerError(DeepfakeError):
    """A server failed or did not respond."""


class ServerUnreachable(ServerError):
    """No connection to the server could be established."""


class WrongEndpoint(ServerUnreachable):
    """The address belongs to another service, or to a gRPC server with other encryption."""


class DeadlineExceeded(ServerError):
    """The deadline passed without a response."""


class ServerOverloaded(ServerError):
    """The server's queue or memory is full; the server itself is healthy."""


class InvalidRequest(ServerError):
    """The server rejects the tensors of the request."""


class PermissionDenied(ServerError):
    """The call is not open to this caller, or to any."""


class ModelUnavailable(ServerError):
    """The server does not serve the model."""


class ModelRestarting(ModelUnavailable):
    """The process of a model has ended; `serve` restarts the server."""


class TransportUnavailable(ServerError):
    """Shared memory was requested, but client and server share none."""


class SharedMemoryInUse(ServerError):
    """The server still holds a region for an earlier request."""


class SharedMemoryLost(ServerError):
    """The server no longer knows a region that it had opened."""


class ContractMismatch(ServerError):
    """The tensors of the server's model differ from the contract."""


class InferenceFailed(ServerError):
    """The model failed with an error."""


class ExportError(DeepfakeError):
    """No repository was written."""


class CheckpointError(ExportError):
    """The checkpoint cannot be read, or its layout is unknown."""


class DetectorError(ExportError):
    """The detector's weights are missing or unknown."""


class ParityError(ExportError):
    """Outputs differ from torch's or cannot be compared with them, or the accuracy gate fails."""


class CalibrationError(ExportError):
    """Calibration data are missing or too few, or INT8 exceeds its error limit."""


class EngineError(ExportError):
    """A graph cannot be compiled, or an engine differs from its record."""


class RepositoryConflict(ExportError):
    """The folder cannot take a further version."""


class ServeError(DeepfakeError):
    """The server cannot be started or has failed."""


class InvalidRepository(ServeError):
    """The folder is no model repository."""


class InvalidKey(ServeError):
    """A file has no key that can sign a repository or verify its signature."""


class InvalidInstallation(ServeError):
    """The folder holds no Triton that can run this project's steps."""


class PortInUse(ServeError):
    """Another process listens on the port."""


class SharedMemoryKeyUnusable(ServeError):
    """The key file of this user can be read by others."""


class ServerFailed(ServeError):
    """The server ended, or a model failed to load."""


class GatewayError(DeepfakeError):
    """The gateway refuses the request; `retry_after_s` says when to repeat it, if that helps."""

    retry_after_s: int | None = None


class Unauthenticated(GatewayError):
    """No API key was sent, or an unknown one."""


class AccessRefused(GatewayError):
    """The request comes from another site, from a forged form, or asks for a host that is not allowed."""


class RateLimited(GatewayError):
    """The key makes more requests, or has more jobs at once, than it may."""


class JobNotFound(GatewayError):
    """There is no such job, or it belongs to another caller."""


class JobNotReady(GatewayError):
    """The job has no such result, as yet or at all."""


class IdempotencyConflict(GatewayError):
    """The Idempotency-Key was used for another request."""


class UploadMalformed(GatewayError):
    """The body holds no file, or ended too early."""


class UploadTooLarge(GatewayError):
    """The upload has more bytes than the gateway takes."""


class SpoolFull(GatewayError):
    """The disk has no room for the upload."""


class GatewayBusy(GatewayError):
    """The gateway can take on no more at the moment, or is stopping; a later try may succeed."""


class UrlRefused(GatewayError):
    """The URL's host or address is not allowed."""


class UrlUnavailable(GatewayError):
    """No video came from the URL."""


class DatasetError(DeepfakeError):
    """A collection or a manifest cannot be used."""


class MissingDependency(DeepfakeError):
    """An optional dependency is not installed."""
