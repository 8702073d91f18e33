"""The options of `deepfake-triton capacity`."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.capacity.load_figures import TRANSPORTS
from deepfake_triton.cli_types import (
    integer,
    non_negative_number,
    positive_number,
    share,
    share_or_zero,
    size_bytes,
)
from deepfake_triton.contracts import MAX_FRAMES, MAX_SERVED_FRAME_SIDE, TYPICAL_FRAME_HW

DEFAULT_START_S = 60
_MIN_RATE, _MAX_RATE = 0.001, 1e6


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--clips-per-second",
        type=_clips_per_second,
        required=True,
        metavar="N",
        help="clips that come; with --simulate those of a burst",
    )
    parser.add_argument(
        "--benchmark",
        type=Path,
        required=True,
        metavar="FILE",
        help="load figures of one replica: load.json of `bench load`, or the .jsonl of a GPU day",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _rate_options(parser.add_argument_group("rate of a replica"))
    _clip_options(parser.add_argument_group("bytes of a clip"))
    _price_options(parser.add_argument_group("prices", "In any one currency; none is built in."))
    _simulation_options(
        parser.add_argument_group(
            "simulation",
            "A day of bursts before a HorizontalPodAutoscaler, by a fluid model in steps of a second, and up "
            "to 1,000 clips/s event by event in ten minutes around each burst. Status 1 where the settings "
            "do not hold.",
        )
    )


def _clips_per_second(text: str) -> float:
    value = positive_number(text)
    if not _MIN_RATE <= value <= _MAX_RATE:
        raise argparse.ArgumentTypeError(f"got {text}, expected {_MIN_RATE:g}…{_MAX_RATE:,.0f} clips/s")
    return value


def _rate_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--transport",
        choices=TRANSPORTS,
        help="plan with the figures over this transport (default: the first of these that was measured)",
    )
    group.add_argument(
        "--p99-ms",
        type=positive_number,
        metavar="MS",
        help="latency objective: plan with the highest measured load whose p99 keeps it",
    )
    group.add_argument(
        "--utilization",
        type=share,
        default=0.8,
        metavar="SHARE",
        help="plan with at most this share of the measured peak (default: %(default)s)",
    )
    group.add_argument(
        "--spare-replicas",
        type=integer(0),
        default=1,
        metavar="N",
        help="replicas beyond those that the demand needs (default: %(default)s)",
    )
    group.add_argument(
        "--max-queue",
        type=integer(1),
        metavar="N",
        help="clips that may wait in one replica, as of `export --max-queue` (default: as an export chooses)",
    )


def _clip_options(group: argparse._ArgumentGroup) -> None:
    height, width = TYPICAL_FRAME_HW
    frames, side = integer(1, MAX_FRAMES), integer(1, MAX_SERVED_FRAME_SIDE)
    group.add_argument(
        "--frames", type=frames, metavar="N", help="frames of a clip (default: those of the benchmark's clip)"
    )
    group.add_argument(
        "--height", type=side, default=height, metavar="PX", help="of the frames sent (default: %(default)s)"
    )
    group.add_argument(
        "--width", type=side, default=width, metavar="PX", help="of the frames sent (default: %(default)s)"
    )
    group.add_argument(
        "--jpeg-frame-bytes",
        type=size_bytes,
        metavar="SIZE",
        help="size of a frame that is sent as a JPEG file, such as 60K (default: frames are sent raw)",
    )


def _price_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--price-per-hour", type=non_negative_number, metavar="PRICE", help="of the machine of one replica"
    )
    group.add_argument(
        "--price-per-gigabyte",
        type=non_negative_number,
        metavar="PRICE",
        help="of 10⁹ bytes between callers and replicas",
    )


def _simulation_options(group: argparse._ArgumentGroup) -> None:
    seconds, count = integer(1), integer(1)
    group.add_argument("--simulate", action="store_true", help="simulate the day too")
    group.add_argument(
        "--base-clips-per-second",
        type=non_negative_number,
        metavar="N",
        help="clips that come between bursts (default: a tenth of --clips-per-second)",
    )
    for name, kind, default, words in (
        ("--bursts", integer(1, 144), 6, "bursts, spread evenly over the day"),
        ("--burst-seconds", integer(1, 86_400), 300, "length of a burst, with its ramps"),
        ("--ramp-seconds", integer(0, 86_400), 30, "ramp at both ends of a burst"),
        ("--sync-period", seconds, 15, "seconds between two decisions"),
        ("--scrape-interval", seconds, 15, "seconds between two scrapes of the metric"),
        ("--scale-up-pods", count, 4, "replicas that may be added in a period"),
        ("--scale-up-percent", count, 100, "percent that may be added instead, where that is more"),
        ("--scale-up-period", seconds, 15, "seconds of that period"),
        ("--stabilization-down", integer(0), 300, "seconds whose highest recommendation scaling down keeps"),
    ):
        group.add_argument(
            name, type=kind, default=default, metavar="N", help=f"{words} (default: %(default)s)"
        )
    group.add_argument(
        "--min-replicas",
        type=count,
        metavar="N",
        help="at least these (default: those for the base, and the spare ones)",
    )
    group.add_argument(
        "--max-replicas", type=count, metavar="N", help="at most these (default: those of the plan)"
    )
    group.add_argument(
        "--target-pending",
        type=positive_number,
        metavar="N",
        help="pending requests in a replica, the autoscaler's target (default: a quarter of the queue)",
    )
    group.add_argument(
        "--start-seconds",
        type=seconds,
        metavar="N",
        help="from the creation of a replica until it answers (default: as measured, else "
        f"{DEFAULT_START_S}; neither pulls an image)",
    )
    group.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="of chance (default: %(default)s)"
    )
    _limit_options(group)


def _limit_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--refused-at-most",
        type=share_or_zero,
        default=0.0,
        metavar="SHARE",
        help="share of clips that may be refused (default: %(default)s)",
    )
    group.add_argument(
        "--wait-at-most",
        type=positive_number,
        metavar="SECONDS",
        help="longest wait in a queue (default: what --p99-ms leaves for it, else any)",
    )
