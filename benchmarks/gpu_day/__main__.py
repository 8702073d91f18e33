"""`python -m deepfake_triton.benchmarks.gpu_day`: measure on a GPU host that has no network.

On a host with network: `pack` and `clip`; on the GPU host: `assemble`, `serve` and `networks`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

_COMMANDS = {
    "pack": "pack",
    "clip": "known_clip",
    "assemble": "assemble",
    "serve": "serve",
    "networks": "networks",
}
"""Modules by command; only the chosen one is imported, since each host lacks what another one needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m deepfake_triton.benchmarks.gpu_day", description=__doc__.split("\n\n")[1]
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, file in _COMMANDS.items():
        subparser = subparsers.add_parser(name)
        if given[:1] == [name]:
            module = import_module(f"{__package__}.{file}")
            subparser.description = module.SUMMARY
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(given)
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
