"""Write the generated parts of the reference pages: what stands between `<!-- generated: NAME -->` and
`<!-- end of generated -->` in docs/reference/*.md.

Run: python docs/generate.py
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_triton import cli, contracts, errors
from deepfake_triton.contracts import ModelSpec, TensorSpec

REFERENCE = Path(__file__).resolve().parent / "reference"
_SCHEMA = REFERENCE.parents[1] / "client/verdicts/verdict.schema.json"
_BLOCK = re.compile(
    r"(?P<begin><!-- generated: (?P<name>\S+) -->\n).*?(?P<end><!-- end of generated -->)", re.DOTALL
)
_AXES = {
    "frames": "HW",
    "sampled_frames": "HW",
    "encoded_frames": "T",
    "boxes": "T",
    "observed": "T",
    "faces": "T",
    "features": "T",
}
"""Names of the free sizes in a tensor's own shape, in order."""
_STACKED_AXES = {"frames": "T", "sampled_frames": "T'", "detections": "T'"}
"""Names of the dimension in front, where a model without batch dimension has one; F (faces) by default."""


def with_generated_blocks(text: str) -> str:
    """Return a page with each of its generated blocks written anew. Raises KeyError for an unknown name."""
    return _BLOCK.sub(lambda found: f"{found['begin']}\n{BLOCKS[found['name']]()}\n{found['end']}", text)


def command_line() -> str:
    """Return the reference of all subcommands, from their argparse declarations."""
    lines: list[str] = []
    for name, subcommand in cli.SUBCOMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"deepfake-triton {name}", description=subcommand.description)
        subcommand.configure(parser)
        extras = ", ".join(f"`{extra}`" for extra in subcommand.extras)
        lines += _command(name, parser, level=2, note=f"Needs the extras {extras}.")
    return "\n".join(lines)


def _command(name: str, parser: argparse.ArgumentParser, *, level: int, note: str = "") -> Iterator[str]:
    description = _escape(parser.description or "")
    yield from (f"{'#' * level} {name}", "", f"{description} {note}".strip(), "")
    nested: dict[str, argparse.ArgumentParser] = {}
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        for action in list(actions):
            if isinstance(action, argparse._SubParsersAction):
                nested |= action.choices
                actions.remove(action)
        if actions:
            if group.title not in {"options", "positional arguments"}:
                yield from (f"**{_escape(group.title or '')}**", "")
            if group.description:
                yield from (_escape(group.description), "")
            yield from _table(["argument", "meaning"], [_argument(parser, action) for action in actions])
            yield ""
    for inner, inner_parser in nested.items():
        yield from _command(f"{name} {inner}", inner_parser, level=level + 1)


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    formatter = parser._get_formatter()
    value = formatter._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
    name = " ".join(part for part in (", ".join(action.option_strings), value) if part)
    meaning = formatter._expand_help(action) if action.help else ""
    if action.option_strings and action.required:
        meaning = f"{meaning} (required)" if meaning else "required"
    return [f"`{name}`".replace("|", "\\|"), _escape(meaning)]


def tensors() -> str:
    """Return the tensors of every served model, from the contracts."""
    lines: list[str] = []
    for model in reversed(contracts.served_models(samples_frames=True)):
        lines += _model(model)
    return "\n".join(lines)


def _model(model: ModelSpec) -> Iterator[str]:
    batch = (
        f"batch dimension of at most {model.max_batch_size}" if model.max_batch_size else "no batch dimension"
    )
    doc = inspect.getdoc(getattr(contracts, model.name)) or ""
    purpose = doc.removeprefix("Return the spec of ")
    yield from (
        f"### {model.name}",
        "",
        f"{purpose[:1].upper()}{purpose[1:]} Backend `{model.backend}`; {batch}.",
        "",
    )
    rows = [
        [kind, f"`{tensor.name}`", tensor.triton_dtype, f"[{_shape(tensor)}]"]
        for kind, specs in (("input", model.inputs), ("output", model.outputs))
        for tensor in specs
    ]
    yield from _table(["", "tensor", "type", "shape"], rows)
    yield ""


def _shape(tensor: TensorSpec) -> str:
    free = list(_AXES.get(tensor.name, ""))
    own_free = len(free)
    missing = sum(size is None for size in tensor.shape) - own_free
    names = iter([_STACKED_AXES.get(tensor.name, "F")] * missing + free)
    sizes = ["S" if tensor.name == "faces" and size not in (None, 3) else size for size in tensor.shape]
    return ", ".join(next(names) if size is None else str(size) for size in sizes)


def limits() -> str:
    """Return what a server and a client refuse, from the contracts."""
    rows = [
        ["T, frames of one clip", f"1…{contracts.MAX_FRAMES}"],
        ["F, faces tracked through one clip", f"1…{contracts.MAX_FACES}"],
        ["S, side of a face crop", f"from the checkpoint; {contracts.DEFAULT_CROP_SIDE} by default"],
        ["candidate detections of one frame", str(contracts.CANDIDATES)],
        ["side of a frame that a server takes", f"{contracts.MAX_SERVED_FRAME_SIDE} px"],
        ["long side to which the client scales frames", f"{contracts.MAX_FRAME_SIDE} px"],
        ["pixels of one clip, T·H·W", f"{contracts.MAX_CLIP_PIXELS:,}"],
        ["scans of a progressive JPEG frame", str(contracts.MAX_JPEG_SCANS)],
        ["marker segments of a JPEG frame", f"{contracts.MAX_JPEG_SEGMENTS:,}"],
    ]
    return "\n".join((*_table(["what", "limit"], rows), ""))


def error_tree() -> str:
    """Return the hierarchy as errors.py draws it, and what each error means."""
    _, _, drawn = (errors.__doc__ or "").partition("::\n\n")
    tree = inspect.cleandoc(drawn.partition("\n\nMessages")[0])
    rows = [
        [f"`{name}`", _escape(inspect.getdoc(error) or "")]
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.DeepfakeError)
    ]
    return "\n".join(("```text", tree, "```", "", *_table(["error", "meaning"], rows), ""))


def json_keys() -> str:
    """Return the keys of a line of `detect --json`, and those of the objects in it, from the JSON Schema."""
    schema = json.loads(_SCHEMA.read_text())
    lines = _keys(schema)
    for name, definition in schema["$defs"].items():
        lines += [f"### {name}", "", *_keys(definition)]
    return "\n".join(lines)


def json_schema() -> str:
    """Return the JSON Schema itself."""
    return f"```json\n{_SCHEMA.read_text().strip()}\n```\n"


def _keys(schema: Mapping[str, Any]) -> list[str]:
    values = {}
    for name, value in schema["properties"].items():
        values[name] = value
        values |= {f"{name}.{key}": inner for key, inner in value.get("properties", {}).items()}
    rows = [[f"`{name}`", _json_type(value), _escape(value["description"])] for name, value in values.items()]
    return [*_table(["key", "type", "meaning"], rows), ""]


def _json_type(value: Mapping[str, Any]) -> str:
    """The type in words, such as `number or null, 0…1`."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "anyOf" in value:
        return " or ".join(_json_type(option) for option in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{json.dumps(option)}`" for option in value["enum"])
    names = value["type"] if isinstance(value["type"], list) else [value["type"]]
    if "items" in value:
        return f"array of {_json_type(value['items'])}"
    bounds = f", {value['minimum']}…{value.get('maximum', '')}" if "minimum" in value else ""
    return " or ".join(names) + bounds


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _escape(text: str) -> str:
    """Keep words of a help text from being read as Markdown or HTML."""
    return re.sub(r"([*_<|])", r"\\\1", " ".join(text.split()))


BLOCKS: dict[str, Callable[[], str]] = {
    "cli": command_line,
    "tensors": tensors,
    "limits": limits,
    "errors": error_tree,
    "json-keys": json_keys,
    "json-schema": json_schema,
}


def main() -> None:
    """Rewrite the pages in place."""
    for path in sorted(REFERENCE.glob("*.md")):
        path.write_text(with_generated_blocks(path.read_text()))


if __name__ == "__main__":
    main()
