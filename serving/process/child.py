"""A tritonserver process whose secrets other users cannot read, and that does not outlive its parent.

Every user of a host can read every command line, and Triton takes its secrets only there. So the process is
stopped at the first instruction of its program (ptrace(2)), and the pointers to its secret arguments are set
to strings that only its own user can read: its environment. The command line keeps placeholders.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepfake_triton.errors import ServerFailed
from deepfake_triton.host.processes import read_process_stat, visible_processes
from deepfake_triton.serving.process.seccomp import private_files_filter

_PR_SET_PDEATHSIG = 1
_PTRACE_TRACEME, _PTRACE_DETACH = 0, 17
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_LIBC.ptrace.restype = ctypes.c_long
_WORD = struct.Struct("@N")
_VARIABLE = "DEEPFAKE_TRITON_ARGUMENT_"
_HIDDEN = "(hidden)"
GROUP_END_TIMEOUT_S = 5.0
MAX_DESCRIPTORS = 2**20
"""More sockets serve nobody, and an unbounded limit slows programs that walk through all descriptors."""


class Child:
    """The process, in a session and process group of its own.

    `hides_secrets` is true from its first instruction on. Where ptrace is refused, the process is started
    with the arguments of `shown` (default: the same), which others can read until `overwrite_secrets`.
    """

    def __init__(
        self,
        command: Sequence[str],
        secrets: Sequence[str],
        environment: Mapping[str, str],
        *,
        inherited: Sequence[int] = (),
        shown: Sequence[str] | None = None,
    ) -> None:
        """Start `command` with `secrets` as its last arguments, each of the form --option=value.

        Raises ServerFailed when it cannot be started.
        """
        self._secrets = list(secrets)
        try:
            self.hides_secrets = self._start_hidden(command, environment, inherited)
            if not self.hides_secrets:  # ptrace is refused by seccomp or a security module
                self._secrets = list(secrets if shown is None else shown)
                self.process = self._start([*command, *self._secrets], environment, inherited, traced=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerFailed(f"tritonserver cannot be started: {error}") from error

    def overwrite_secrets(self) -> bool:
        """Blank the secrets on the command line, once Triton has read them; return whether none is left."""
        if not self.hides_secrets:
            with contextlib.suppress(OSError):
                fields = _stat_fields(self.process.pid)
                start, end = fields[_ARG_START], fields[_ARG_END]
                with open(f"/proc/{self.process.pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
                    memory.seek(start)
                    shown = memory.read(end - start)
                    for secret in self._secrets:
                        option, _, value = secret.partition("=")
                        shown = shown.replace(secret.encode(), f"{option}={'*' * len(value)}".encode())
                    memory.seek(start)
                    memory.write(shown)
                command_line = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
                self.hides_secrets = not any(secret.encode() in command_line for secret in self._secrets)
        return self.hides_secrets

    def signal_group(self) -> None:
        """Kill the program and its children without waiting; safe in signal handlers."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group may be gone by now
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill the program and its children, and wait until they have released its ports."""
        self.signal_group()
        self.process.wait()
        deadline = time.monotonic() + GROUP_END_TIMEOUT_S
        while _is_group_alive(self.process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _start_hidden(
        self, command: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int]
    ) -> bool:
        """Start the program with its secrets in its environment; return False where that is refused."""
        placeholders = [f"{secret.partition('=')[0]}={_HIDDEN}" for secret in self._secrets]
        try:
            self.process = self._start([*command, *placeholders], environment, inherited, traced=True)
        except subprocess.SubprocessError:
            return False
        try:
            self._point_at_environment(len(command))
        except (OSError, ValueError, struct.error):
            self.kill_group()
            return False
        except BaseException:
            self.kill_group()
            raise
        return True

    def _start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        inherited: Sequence[int],
        *,
        traced: bool,
    ) -> subprocess.Popen[str]:
        hidden = {f"{_VARIABLE}{index}": secret for index, secret in enumerate(self._secrets)}
        limits, install_filter = _descriptor_limits(), private_files_filter()

        def prepare() -> None:  # in the new process: system calls only, no locks
            end_with_parent()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            install_filter()
            if traced and _LIBC.ptrace(_PTRACE_TRACEME, 0, None, None):
                raise OSError(ctypes.get_errno(), "ptrace")

        return subprocess.Popen(
            command,
            env={**environment, **hidden} if traced else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the server through us, once
            pass_fds=tuple(inherited),
            umask=0o077,  # faces pass through its shared memory
            preexec_fn=prepare,  # noqa: PLW1509 - system calls only
        )

    def _point_at_environment(self, first: int) -> None:
        """Point the stopped program's arguments from `first` on into its environment, and let it run."""
        pid = self.process.pid
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise OSError(f"it ended with status {os.waitstatus_to_exitcode(status)} before it began")
        _rewrite_arguments(pid, first, len(self._secrets))
        if _LIBC.ptrace(_PTRACE_DETACH, pid, None, None):
            raise OSError(ctypes.get_errno(), "it cannot be released")


# Numbers of fields in /proc/PID/stat (proc_pid_stat(5)), counted behind the name.
_START_STACK, _ARG_START, _ARG_END, _ENV_START, _ENV_END = 25, 45, 46, 47, 48


def _rewrite_arguments(pid: int, first: int, count: int) -> None:
    """Point `count` arguments from `first` on at the values of the variables that hold the secrets, and
    remove these variables from the program's environment, so that its children inherit none.

    The stack of a new program begins with the number of arguments, their pointers, a null, the pointers of
    the environment, a null. Raises OSError, ValueError.
    """
    fields = _stat_fields(pid)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123 - Path.open is the same

        def words(at: int, number: int) -> list[int]:
            memory.seek(at)
            return [word for (word,) in _WORD.iter_unpack(memory.read(number * _WORD.size))]

        stack = fields[_START_STACK]
        (arguments,) = words(stack, 1)
        table = stack + _WORD.size
        if arguments != first + count or words(table, 1) != [fields[_ARG_START]]:
            raise ValueError(f"its stack begins with {arguments} arguments, expected {first + count}")
        memory.seek(fields[_ENV_START])
        strings = memory.read(fields[_ENV_END] - fields[_ENV_START])
        environment = table + (arguments + 1) * _WORD.size
        pointers = words(environment, strings.count(b"\0"))
        for index in range(count):
            name = f"{_VARIABLE}{index}=".encode()
            at = fields[_ENV_START] + (b"\0" + strings).index(b"\0" + name)
            memory.seek(table + (first + index) * _WORD.size)
            memory.write(_WORD.pack(at + len(name)))
            memory.seek(environment + pointers.index(at) * _WORD.size)
            memory.write(_WORD.pack(pointers[0]))  # a null would end the list: the first one, once more


def _stat_fields(pid: int) -> list[int]:
    """Return the numbers in /proc/PID/stat behind the state; field 0 is the state itself, as 0."""
    return [0, *map(int, read_process_stat(pid).fields[1:])]


def _is_group_alive(group: int) -> bool:
    """Whether a process of that group runs; a zombie does not."""
    return any(process.group == group and not process.is_zombie for process in visible_processes())


def _descriptor_limits() -> tuple[int, int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    return (soft if soft == resource.RLIM_INFINITY else max(soft, wanted)), hard


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends; for `preexec_fn`."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
