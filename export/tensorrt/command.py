"""`deepfake-triton engine`: build a TensorRT engine from an ONNX file, add engines, inspect one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deepfake_triton.errors import EngineError
from deepfake_triton.export.tensorrt.profiles import profile_from_text
from deepfake_triton.models.runtimes.tensorrt_library import BUILDERS
from deepfake_triton.repository.engine_record import EngineKey, ShapeProfile


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="engine_command", metavar="COMMAND", required=True)
    build = commands.add_parser(
        "build",
        help="build an engine from an ONNX file",
        description="Build an engine from an ONNX file for one compute capability. INT8 comes from the "
        "graph's Q/DQ nodes.",
    )
    build.set_defaults(action=_build)
    build.add_argument("graph", type=Path, metavar="MODEL.onnx")
    build.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="engine; FILE.json is its build record"
    )
    build.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="default: %(default)s")
    build.add_argument(
        "--profile",
        type=_profile,
        action="append",
        default=[],
        metavar="NAME=MIN,OPT,MAX",
        help="optimization profile of an input, such as features=1x1x2048,4x20x2048,32x64x2048; default: "
        "those of the project's own models",
    )
    _add_target_options(build, "the first that is installed")
    addition = commands.add_parser(
        "add",
        help="add engines for another compute capability",
        description="Build engines for another compute capability in a repository that `export --engine "
        "tensorrt` wrote, where the served version has none for it. Servers that only read the repository "
        "take `serve --engine-cache` instead.",
    )
    addition.set_defaults(action=_add)
    addition.add_argument("repository", type=Path, metavar="DIR")
    _add_target_options(addition, "tensorrt")
    cache = commands.add_parser(
        "cache",
        help="build the engines that a repository lacks into a cache",
        description="Build the engines that a repository lacks for a GPU into a cache beside it, where the "
        "cache has none of the same graph, GPU and TensorRT. The repository is only read. `serve "
        "--engine-cache` does it before it starts.",
    )
    cache.set_defaults(action=_cache)
    cache.add_argument("repository", type=Path, metavar="DIR")
    cache.add_argument("cache", type=Path, metavar="CACHE", help="folder of the engines, an absolute path")
    _add_target_options(cache, "tensorrt")
    cache.add_argument("--json", action="store_true", help="print the engines as JSON")
    inspect = commands.add_parser(
        "inspect",
        help="inputs, outputs and profiles of an engine",
        description="Show the build record; on a matching GPU also inspect the engine itself.",
    )
    inspect.set_defaults(action=_inspect)
    inspect.add_argument("engine", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print JSON")


def _add_target_options(parser: argparse.ArgumentParser, default_builder: str) -> None:
    parser.add_argument(
        "--compute-capability",
        metavar="X.Y",
        help="such as 8.0 (A100), 8.6 (A10), 8.9 (L4, L40) or 12.0 (default: the local GPU's)",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="kernel timings that speed up the next build",
    )
    parser.add_argument(
        "--builder",
        choices=BUILDERS,
        help="tensorrt builds engines that Triton loads, on the GPU that serves; tensorrt-rtx needs no GPU, "
        f"but only TensorRT-RTX loads its engines (default: {default_builder})",
    )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    status: int = args.action(args)
    return status


def _build(args: argparse.Namespace) -> int:
    from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
    from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt

    options = EngineOptions(
        precision=args.precision,
        compute_capability=args.compute_capability,
        profiles=dict(args.profile),
        timing_cache=args.timing_cache,
    )
    record = build_engine(args.graph, args.output, load_tensorrt(args.builder), options=options)
    print(
        f"wrote {args.output}: {record.precision}, compute capability {record.compute_capability}, "
        f"{record.builder.name} {record.builder.version}"
    )
    return 0


def _add(args: argparse.Namespace) -> int:
    from deepfake_triton.export.tensorrt.add_engines import add_engines, models_without_engine
    from deepfake_triton.models.runtimes.tensorrt_library import gpu_compute_capability, load_tensorrt
    from deepfake_triton.repository.signature import warn_of_lost_signature

    capability = args.compute_capability or gpu_compute_capability()
    if capability is None:
        raise EngineError(f"{args.repository}: no GPU here to build for; pass --compute-capability")
    models = models_without_engine(args.repository, capability)
    if not models:
        print(f"{args.repository}: has engines for compute capability {capability}")
        return 0
    library = load_tensorrt(args.builder or "tensorrt")
    with warn_of_lost_signature(args.repository):
        add_engines(
            args.repository,
            models,
            library,
            compute_capability=capability,
            timing_cache=args.timing_cache,
        )
    print(
        f"{args.repository}: built {', '.join(models)} for compute capability {capability}, {library.name} "
        f"{library.version}"
    )
    return 0


def _cache(args: argparse.Namespace) -> int:
    from deepfake_triton.console.logs import warnings_on_stderr
    from deepfake_triton.export.tensorrt.cached_engines import LackingModel, lacking_models, take_engines
    from deepfake_triton.models.runtimes.tensorrt_library import gpu_compute_capability, load_tensorrt
    from deepfake_triton.repository.check import require_folder
    from deepfake_triton.repository.engine_cache import EngineCache, why_unfit

    require_folder(args.repository)
    if reason := why_unfit(args.cache, args.repository):
        raise EngineError(f"CACHE: {reason}")
    capability = args.compute_capability or gpu_compute_capability()
    if capability is None:
        raise EngineError(f"{args.repository}: no GPU here to build for; pass --compute-capability")

    def say_what_is_built(model: LackingModel, key: EngineKey) -> None:
        gpu = f"{key.gpu}, {key.compute_capability}" if key.gpu else key.compute_capability
        print(
            f"deepfake-triton: building {model.name} {model.version} for compute capability {gpu}, "
            f"{key.builder.name} {key.builder.version}",
            file=sys.stderr,
            flush=True,
        )

    models = lacking_models(args.repository, capability)
    taken = []
    if models:
        with warnings_on_stderr("deepfake_triton.repository.engine_cache"):
            for engine, is_new in take_engines(
                args.repository,
                models,
                EngineCache(args.cache),
                library=load_tensorrt(args.builder or "tensorrt"),
                compute_capability=capability if args.compute_capability else None,
                timing_cache=args.timing_cache,
                on_build=say_what_is_built,
            ):
                taken.append(engine)
                if not args.json:
                    what = "built" if is_new else "was there"
                    print(f"{engine.model} {engine.version}: {what}, {engine.path}")
    if args.json:
        print(json.dumps([engine.to_json() for engine in taken], indent=1))
    elif not taken:
        print(f"{args.repository}: has engines for compute capability {capability}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from deepfake_triton.export.tensorrt.builder import deserialize_engine
    from deepfake_triton.models.runtimes.tensorrt_library import gpu_compute_capability, load_tensorrt
    from deepfake_triton.repository.engine_record import read_engine_record

    record = read_engine_record(args.engine)
    known = record.to_json()
    if gpu_compute_capability() == record.compute_capability:
        deserialized = deserialize_engine(args.engine, load_tensorrt(record.builder.name))
        known["deserialised"] = deserialized.to_json()
    if args.json:
        print(json.dumps(known, indent=2))
        return 0
    print(f"{args.engine}: {record.precision}, compute capability {record.compute_capability}")
    print(f"  built by  {record.builder.name} {record.builder.version} ({known['source']})")
    for kind, tensors in (("input", record.inputs), ("output", record.outputs)):
        for tensor in tensors:
            print(f"  {kind:<8}  {tensor.name} {tensor.dtype} {list(tensor.shape)}")
    for name, profile in record.profiles.items():
        shapes = ", ".join(str(list(shape)) for shape in (profile.min, profile.opt, profile.max))
        print(f"  profile   {name} {shapes}")
    return 0


def _profile(text: str) -> tuple[str, ShapeProfile]:
    try:
        return profile_from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
