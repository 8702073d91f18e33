"""`deepfake-triton repository`: list, activate, prune, accept and sign the versions of a model repository."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from deepfake_triton.cli_types import integer


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="repository_command", metavar="COMMAND", required=True)
    listing = commands.add_parser(
        "list",
        help="list the versions",
        description="List the versions of a repository; a * marks the served one.",
    )
    listing.set_defaults(action=_list)
    listing.add_argument("repository", type=Path, metavar="DIR")
    listing.add_argument("--json", action="store_true", help="print JSON")
    activation = commands.add_parser(
        "activate",
        help="serve another version, also on a running server",
        description="Make another version the served one. A running server (started with `serve "
        "--model-control explicit`) switches over without failing a request or mixing versions.",
    )
    activation.set_defaults(action=_activate)
    activation.add_argument("repository", type=Path, metavar="DIR")
    activation.add_argument("version", type=int, metavar="VERSION")
    activation.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="HTTP address of the running server, such as localhost:8000",
    )
    pruning = commands.add_parser(
        "prune",
        help="remove old versions",
        description="Remove old versions from the disk; the served one stays.",
    )
    pruning.set_defaults(action=_prune)
    pruning.add_argument("repository", type=Path, metavar="DIR")
    pruning.add_argument(
        "--keep",
        type=integer(0),
        default=1,
        metavar="N",
        help="versions to keep beside the served one, newest first (default: %(default)s)",
    )
    acceptance = commands.add_parser(
        "accept",
        help="accept changed files into the record",
        description="Record a repository as it is now, after a change of your own: `serve` refuses files "
        "that differ from the record. The signature of the record before is removed.",
    )
    acceptance.set_defaults(action=_accept)
    acceptance.add_argument("repository", type=Path, metavar="DIR")
    signing = commands.add_parser(
        "sign",
        help="sign the record, for `serve --require-signature`",
        description="Sign the record of an unchanged repository with an Ed25519 key. Make one with: openssl "
        "genpkey -algorithm ed25519 -out PRIVATE.pem; and its public half, for the server: openssl pkey -in "
        "PRIVATE.pem -pubout -out PUBLIC.pem.",
    )
    signing.set_defaults(action=_sign)
    signing.add_argument("repository", type=Path, metavar="DIR")
    signing.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem", help="an Ed25519 key")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    from deepfake_triton.repository.signature import warn_of_lost_signature

    with warn_of_lost_signature(args.repository):
        status: int = args.action(args)
    return status


def _list(args: argparse.Namespace) -> int:
    from deepfake_triton.export.repository.versions import list_versions

    versions = list_versions(args.repository)
    if args.json:
        print(json.dumps([asdict(version) for version in versions], indent=2))
        return 0
    for version in versions:
        mark = "*" if version.active else " "
        engine = ", ".join(filter(None, (version.engine, version.precision, version.accelerator)))
        print(f"{mark} {version.version:>4}  {engine:<24}  {version.weights} weights, {version.checkpoint}")
    return 0


def _activate(args: argparse.Namespace) -> int:
    from deepfake_triton.export.repository.versions import activate

    server = None
    if args.http:
        from deepfake_triton.serving.hot_reload import LiveServer

        server = LiveServer(args.http)
    before = activate(args.repository, args.version, server)
    running = f", served at {args.http}" if server else "; a server keeps its own until it is restarted"
    print(f"{args.repository}: version {args.version} is active, before it was {before}{running}")
    return 0


def _prune(args: argparse.Namespace) -> int:
    from deepfake_triton.export.repository.versions import prune

    gone = prune(args.repository, args.keep)
    print(f"{args.repository}: removed {', '.join(map(str, gone)) or 'nothing'}")
    return 0


def _accept(args: argparse.Namespace) -> int:
    from deepfake_triton.repository.approval import accept

    accepted = accept(args.repository)
    for what in ("added", "changed", "removed"):
        for path in getattr(accepted, what):
            print(f"  {what:<8}  {path}")
    count = len(accepted.added) + len(accepted.changed) + len(accepted.removed)
    print(f"{args.repository}: recorded as it is, {count or 'no'} change{'' if count == 1 else 's'}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    from deepfake_triton.repository.approval import sign

    print(f"wrote {sign(args.repository, args.key)}")
    return 0
