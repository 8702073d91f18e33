"""Every error that this project raises on purpose.

::

    DeepfakeError
    ├── InputError                what the caller handed in
    │   ├── VideoNotFound         no such path
    │   ├── VideoUnreadable       a folder, no permission, a failing disk
    │   ├── NotAVideo             the bytes are no media file (or an empty one)
    │   ├── NoVideoStream         a media file without pictures
    │   ├── VideoTooLarge         more bytes, pixels or hours than are taken
    │   ├── VideoUndecodable      a video from which not one frame decodes
    │   ├── InvalidFrames         an array of the wrong shape or dtype
    │   ├── InvalidOption         an argument that makes no sense, such as a negative time
    │   └── InvalidTrace          what is no W3C trace context
    ├── ServerError               what a server answered, or did not
    │   ├── ServerUnreachable
    │   │   └── WrongEndpoint     something else answers there, or it wants TLS
    │   ├── DeadlineExceeded
    │   ├── ServerOverloaded      its queue or its memory is full; it is well
    │   ├── InvalidRequest        it refuses the request's tensors
    │   ├── PermissionDenied      it does not take this call, or not from this caller
    │   ├── ModelUnavailable      the server does not serve the model
    │   │   └── ModelRestarting   for the moment: its process ended and is started again
    │   ├── TransportUnavailable  shared memory was asked for and does not work there
    │   ├── SharedMemoryInUse     the server keeps a region, for a request that has not quite ended
    │   ├── SharedMemoryLost      the server does not know a region that it had opened: it has restarted
    │   ├── ContractMismatch      it serves something else under that name
    │   └── InferenceFailed       the model ran into an error
    ├── ExportError
    │   ├── CheckpointError       unreadable, or of an unknown layout
    │   ├── DetectorError         detector weights missing or of an unknown layout
    │   ├── ParityError           the exported graph does not answer as torch does
    │   ├── CalibrationError      too few faces to fit INT8 to, or INT8 changes too much
    │   ├── EngineError           a graph that cannot be compiled, or an engine that is not what it was
    │   └── RepositoryConflict    the folder cannot take a further version
    ├── ServeError
    │   ├── InvalidRepository
    │   ├── InvalidKey            a key for signatures cannot be used
    │   ├── PortInUse
    │   ├── SharedMemoryKeyUnusable   the file of this user's key is not this user's alone
    │   └── ServerFailed          the server ended, or a model failed to load
    ├── DatasetError              a collection or a manifest cannot be used
    └── MissingDependency         an optional part is not installed

Messages say what was got, what was expected, and what to do. Only ``cli.main`` turns one into a line
on stderr and an exit status.
"""

from __future__ import annotations


class DeepfakeError(Exception):
    """Base of all errors below."""


class InputError(DeepfakeError):
    """The caller's data cannot be used."""


class VideoNotFound(InputError):
    """No such path."""


class VideoUnreadable(InputError):
    """The path exists but its bytes cannot be read."""


class NotAVideo(InputError):
    """The bytes are no media file."""


class NoVideoStream(InputError):
    """The media file holds no pictures."""


class VideoTooLarge(InputError):
    """More bytes, pixels or hours than are taken."""


class VideoUndecodable(InputError):
    """Not one frame decodes."""


class InvalidFrames(InputError):
    """An array has the wrong shape or dtype."""


class InvalidOption(InputError):
    """An argument makes no sense."""


class InvalidTrace(InputError):
    """What was given as a trace context is none."""


class ServerError(DeepfakeError):
    """A server did not answer as it should."""


class ServerUnreachable(ServerError):
    """No connection."""


class WrongEndpoint(ServerUnreachable):
    """Something answers there, but no gRPC server, or one that wants another kind of encryption."""


class DeadlineExceeded(ServerError):
    """No answer in time."""


class ServerOverloaded(ServerError):
    """The server refused the request, since its queue or its memory is full."""


class InvalidRequest(ServerError):
    """The server refuses the request's tensors."""


class PermissionDenied(ServerError):
    """The server does not take this call, or not from this caller."""


class ModelUnavailable(ServerError):
    """The server does not serve the model."""


class ModelRestarting(ModelUnavailable):
    """The process of a model ended; `serve` starts the server again."""


class TransportUnavailable(ServerError):
    """Shared memory was asked for, and client and server do not share any."""


class SharedMemoryInUse(ServerError):
    """The server keeps a region, for a request that has not quite ended."""


class SharedMemoryLost(ServerError):
    """The server does not know a region that it had opened."""


class ContractMismatch(ServerError):
    """The server's model has other tensors than the contract says."""


class InferenceFailed(ServerError):
    """The server answered with an error."""


class ExportError(DeepfakeError):
    """No repository was written."""


class CheckpointError(ExportError):
    """The checkpoint cannot be read, or its layout is unknown."""


class DetectorError(ExportError):
    """The detector's weights are missing or unknown."""


class ParityError(ExportError):
    """The exported graph does not answer as torch does."""


class CalibrationError(ExportError):
    """INT8 cannot be fitted to what was named."""


class EngineError(ExportError):
    """A graph cannot be compiled, or an engine is not what its record says."""


class RepositoryConflict(ExportError):
    """The folder cannot take a further version."""


class ServeError(DeepfakeError):
    """The server does not run."""


class InvalidRepository(ServeError):
    """The folder is no model repository."""


class InvalidKey(ServeError):
    """A file holds no key that can sign a repository, or check its signature."""


class PortInUse(ServeError):
    """Another process listens on the port."""


class SharedMemoryKeyUnusable(ServeError):
    """There is no key of this user that others cannot read."""


class ServerFailed(ServeError):
    """The server ended, or a model failed to load."""


class DatasetError(DeepfakeError):
    """A collection or a manifest cannot be used."""


class MissingDependency(DeepfakeError):
    """An optional part is not installed."""
