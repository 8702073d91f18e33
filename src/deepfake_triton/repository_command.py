"""`deepfake-triton repository`: versions of a model repository, the served one, and its record."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="repository_command", metavar="COMMAND", required=True)
    listing = commands.add_parser(
        "list", help="what stands there", description="The versions of a repository, the served one marked."
    )
    listing.set_defaults(action=_list)
    listing.add_argument("repository", type=Path, metavar="DIR")
    listing.add_argument("--json", action="store_true", help="print JSON")
    activation = commands.add_parser(
        "activate",
        help="serve another version, also on a server that runs",
        description="Make another version the served one. A running server (started with `serve "
        "--model-control explicit`) changes over without failing a request or mixing versions.",
    )
    activation.set_defaults(action=_activate)
    activation.add_argument("repository", type=Path, metavar="DIR")
    activation.add_argument("version", type=int, metavar="VERSION")
    activation.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="HTTP address of the server that serves it: localhost:8000",
    )
    pruning = commands.add_parser(
        "prune",
        help="remove old versions",
        description="Remove versions from the disk; the served one stays.",
    )
    pruning.set_defaults(action=_prune)
    pruning.add_argument("repository", type=Path, metavar="DIR")
    pruning.add_argument(
        "--keep",
        type=_count,
        default=1,
        metavar="N",
        help="newest others to keep (%(default)s)",
    )
    acceptance = commands.add_parser(
        "accept",
        help="record the files as they are",
        description="Record a repository as it is now, after a change of your own: `serve` takes no file "
        "that differs from its record. A signature, which is of the record before, is removed.",
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
    """Do what was asked."""
    from deepfake_triton.repository_signature import noting_lost_signature

    with noting_lost_signature(args.repository):
        status: int = args.action(args)
    return status


def _list(args: argparse.Namespace) -> int:
    from deepfake_triton.export.versions import versions_of

    versions = versions_of(args.repository)
    if args.json:
        print(json.dumps([asdict(version) for version in versions], indent=2))
        return 0
    for version in versions:
        mark = "*" if version.active else " "
        engine = ", ".join(filter(None, (version.engine, version.precision, version.accelerator)))
        print(f"{mark} {version.version:>4}  {engine:<24}  {version.weights} weights, {version.checkpoint}")
    return 0


def _activate(args: argparse.Namespace) -> int:
    from deepfake_triton.export.versions import activate

    server = None
    if args.http:
        from deepfake_triton.serving.switching import LiveServer

        server = LiveServer(args.http)
    before = activate(args.repository, args.version, server)
    running = f", served at {args.http}" if server else "; a server keeps its own until it is restarted"
    print(f"{args.repository}: version {args.version} is active, before it was {before}{running}")
    return 0


def _prune(args: argparse.Namespace) -> int:
    from deepfake_triton.export.versions import prune

    gone = prune(args.repository, args.keep)
    print(f"{args.repository}: removed {', '.join(map(str, gone)) or 'nothing'}")
    return 0


def _accept(args: argparse.Namespace) -> int:
    from deepfake_triton.repository_record import accept

    accepted = accept(args.repository)
    for what in ("added", "changed", "removed"):
        for path in getattr(accepted, what):
            print(f"  {what:<8}  {path}")
    count = len(accepted.added) + len(accepted.changed) + len(accepted.removed)
    print(f"{args.repository}: recorded as it is, {count or 'no'} change{'' if count == 1 else 's'}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    from deepfake_triton.repository_record import sign

    print(f"wrote {sign(args.repository, args.key)}")
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"got {text}, expected 0 or more")
    return value
