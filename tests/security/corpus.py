"""Hostile model repositories, by name: each is a sound tiny model of which one thing was made hostile.

``HOSTILE`` has what each is and what must come of it. A builder gets the folder of the sound model and may write to
``folder.parent / "outside"`` too, which stands for the rest of the machine. Whatever code a file smuggles in writes the
file ``canary(folder)``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file

from lem_models.errors import ConfigError, LEMError, UnknownNameError, WeightsError
from tests.helpers import random_model, tiny_config

FIRST = "head.output.bias"  # three numbers
_CANARY = "CODE-WAS-RUN"


@dataclass(frozen=True)
class Hostile:
    """A hostile repository.

    Attributes:
        build: Makes a sound model folder hostile.
        error: What loading it must raise; None where it must load, and touch nothing but the two files of a model.
        message: What the error must say, a pattern.
    """

    build: Callable[[Path], None]
    error: type[LEMError] | None
    message: str


HOSTILE: dict[str, Hostile] = {}


def canary(folder: Path) -> Path:
    """File that appears when code from a repository was run."""
    return folder.parent / "outside" / _CANARY


def sound_model(folder: Path) -> Path:
    """A model that loads: a few thousand weights."""
    return random_model(tiny_config(features=("range",))).save_pretrained(folder)


def build(name: str, sound: Path, home: Path) -> Path:
    """The hostile repository of this name in ``home``: its folder is ``home / "model"``."""
    (home / "outside").mkdir(parents=True)
    folder = Path(shutil.copytree(sound, home / "model"))
    HOSTILE[name].build(folder)
    return folder


def _add(name: str, error: type[LEMError] | None, message: str, build: Callable[[Path], Any]) -> None:
    assert name not in HOSTILE, name
    HOSTILE[name] = Hostile(build, error, message)


def _hostile(name: str, error: type[LEMError] | None, message: str) -> Callable[..., Callable[[Path], None]]:
    def add(build: Callable[[Path], None]) -> Callable[[Path], None]:
        _add(name, error, message, build)
        return build

    return add


# --- weights: bytes --------------------------------------------------------------------------------------------------


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return damage


def _start(data: bytes) -> int:
    """Where the numbers begin."""
    return 8 + int(struct.unpack("<Q", data[:8])[0])


def _flip(at: Callable[[bytes], int], bits: int = 0xFF) -> Callable[[Path], None]:
    def change(data: bytes) -> bytes:
        place = at(data)
        return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]

    return _bytes(change)


for _region, _cut, _message in [
    ("nothing", lambda d: 0, "truncated: 0 bytes"),
    ("length", lambda d: 5, "truncated: 5 bytes"),
    ("length_alone", lambda d: 8, "header claims"),
    ("header_first_byte", lambda d: 9, "header claims"),
    ("header_middle", lambda d: _start(d) // 2, "header claims"),
    ("header_last_byte", lambda d: _start(d) - 1, "header claims"),
    ("no_numbers", lambda d: _start(d), "tensors have .* and 0 are there"),
    ("first_number", lambda d: _start(d) + 3, "tensors have .* and 3 are there"),
    ("numbers_middle", lambda d: (_start(d) + len(d)) // 2, "tensors have"),
    ("last_byte", lambda d: len(d) - 1, "tensors have"),
]:
    _add(f"truncated_{_region}", WeightsError, _message, _bytes(lambda d, cut=_cut: d[: cut(d)]))

_add("flipped_length_low", WeightsError, "cannot read|claims|tensors have", _flip(lambda d: 0))
_add("flipped_length_high", WeightsError, "header claims", _flip(lambda d: 7))
_add("flipped_first_brace", WeightsError, "cannot read", _flip(lambda d: 8))
_add("flipped_name", WeightsError, "missing .*unexpected", _flip(lambda d: d.index(FIRST.encode()), 0x01))
_add("flipped_name_not_utf8", WeightsError, "cannot read", _flip(lambda d: d.index(FIRST.encode())))
_add("flipped_dtype", WeightsError, "the configuration asks for", _flip(lambda d: d.index(b'"F32"') + 1, 0x04))
_add("flipped_shape", WeightsError, "the configuration asks for", _flip(lambda d: d.index(b'"shape":[') + 9, 0x01))
_add(
    "flipped_offset",
    WeightsError,
    "should have",
    _flip(lambda d: d.index(b'"data_offsets":[0,') + 18, 0x01),
)
_add("flipped_sign_bits_to_nan", WeightsError, "not finite", _bytes(lambda d: d[:-4] + b"\xff\xff\xff\xff"))
_add("trailing_bytes", WeightsError, "tensors have", _bytes(lambda d: d + b"more"))
_add("trailing_zip", WeightsError, "tensors have", _bytes(lambda d: d + _zip({"data.pkl": b"\x80\x02N."})))
_add("giant_header_claimed", WeightsError, "header claims", _bytes(lambda d: struct.pack("<Q", 1 << 62) + d[8:]))
_add("all_zeros", WeightsError, "cannot read", _bytes(lambda d: bytes(len(d))))
_add("all_ones", WeightsError, "header claims", _bytes(lambda d: b"\xff" * len(d)))


@_hostile("giant_header", WeightsError, "header claims 67108864 bytes")
def _giant_header(folder: Path) -> None:
    text = b'{"a":[' + b"[]," * ((1 << 26) // 3)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 26) + text[: 1 << 26].ljust(1 << 26))


@_hostile("giant_sparse_weights", WeightsError, "cannot read|damaged")
def _giant_sparse(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 40)


# --- weights: the header ---------------------------------------------------------------------------------------------


def _header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Rewrite the header; ``change`` edits it, or returns the text to put there."""

    def rewrite(data: bytes) -> bytes:
        header = json.loads(data[8 : _start(data)])
        text = change(header)
        text = (text if isinstance(text, str) else json.dumps(header)).encode()
        return struct.pack("<Q", len(text)) + text + data[_start(data) :]

    return _bytes(rewrite)


def _entry(**changes: Any) -> Callable[[Path], None]:
    return _header(lambda header: header[FIRST].update(changes))


def _offsets(change: Callable[[int, int], list[Any]]) -> Callable[[Path], None]:
    return _header(lambda header: header[FIRST].update(data_offsets=change(*header[FIRST]["data_offsets"])))


def _swap_offsets(header: dict[str, Any]) -> None:
    """Two tensors of one size read the same bytes."""
    first, second = [key for key, entry in header.items() if entry.get("shape") == [8]][:2]
    header[first]["data_offsets"] = header[second]["data_offsets"]


def _repeat(header: dict[str, Any]) -> str:
    """The same tensor twice."""
    return json.dumps(header)[:-1] + f", {json.dumps(FIRST)}: {json.dumps(header[FIRST])}}}"


_add("header_is_a_list", WeightsError, "not an object", _header(lambda h: "[]"))
_add("header_is_null", WeightsError, "not an object", _header(lambda h: "null"))
_add("header_is_empty", WeightsError, "missing", _header(lambda h: "{}"))
_add("header_deep", WeightsError, "nested more than", _header(lambda h: "[" * 20_000))
_add("header_repeats_a_tensor", WeightsError, "a key occurs twice", _header(_repeat))
_add("header_repeats_a_key", WeightsError, "a key occurs twice", _header(
    lambda h: json.dumps(h).replace('"dtype"', '"dtype": "I64", "dtype"', 1)))  # fmt: skip
_add("header_with_nan", WeightsError, "not finite", _entry(shape=[float("nan")]))
_add("header_with_a_long_number", WeightsError, "digits", _header(
    lambda h: json.dumps(h).replace('"shape": [3]', '"shape": [' + "9" * 5000 + "]")))  # fmt: skip
_add("header_metadata_not_texts", WeightsError, "metadata", _header(lambda h: h.update(__metadata__={"a": [1]})))
_add("header_metadata_a_list", WeightsError, "metadata", _header(lambda h: h.update(__metadata__=["a"])))
_add(
    "header_metadata_large", WeightsError, "header claims", _header(lambda h: h.update(__metadata__={"a": "x" * 10**6}))
)
_add("entry_a_number", WeightsError, "is not a dtype", _header(lambda h: h.update({FIRST: 3})))
_add("entry_null", WeightsError, "is not a dtype", _header(lambda h: h.update({FIRST: None})))
_add("entry_without_offsets", WeightsError, "is not a dtype", _header(lambda h: h[FIRST].pop("data_offsets") and None))
_add("entry_with_more", WeightsError, "is not a dtype", _entry(loader="os.system"))
_add("dtype_unknown", WeightsError, "the configuration asks for", _entry(dtype="F8_E4M3"))
_add("dtype_wrong", WeightsError, "the configuration asks for", _entry(dtype="F16"))
_add("dtype_a_list", WeightsError, "the configuration asks for", _entry(dtype=["F32"]))
_add(
    "dtype_with_escapes",
    WeightsError,
    "the configuration asks for",
    _entry(dtype="\x1b[2J\nroot logged in" + "x" * 999),
)
_add("shape_wrong", WeightsError, "the configuration asks for", _entry(shape=[4]))
_add("shape_huge", WeightsError, "the configuration asks for", _entry(shape=[10**12]))
_add("shape_overflowing", WeightsError, "the configuration asks for", _entry(shape=[1 << 32, 1 << 32, 3]))
_add("shape_negative", WeightsError, "is not a dtype", _entry(shape=[-3]))
_add("shape_of_truths", WeightsError, "is not a dtype", _entry(shape=[True]))
_add("shape_a_text", WeightsError, "is not a dtype", _entry(shape="3"))
_add("shape_of_many_axes", WeightsError, "is not a dtype", _entry(shape=[1] * 1000))
_add("offsets_beyond_the_end", WeightsError, "should have", _offsets(lambda a, b: [a, b + 10**9]))
_add("offsets_huge", WeightsError, "is not a dtype", _offsets(lambda a, b: [a, 1 << 63]))
_add("offsets_negative", WeightsError, "is not a dtype", _offsets(lambda a, b: [-8, b]))
_add("offsets_backwards", WeightsError, "should have", _offsets(lambda a, b: [b, a]))
_add("offsets_of_fractions", WeightsError, "is not a dtype", _offsets(lambda a, b: [float(a), float(b)]))
_add("offsets_three", WeightsError, "is not a dtype", _offsets(lambda a, b: [a, b, b]))
_add("offsets_too_few_bytes", WeightsError, "should have", _offsets(lambda a, b: [a, b - 4]))
_add("offsets_overlapping", WeightsError, "should have", _header(_swap_offsets))


# --- weights: tensors ------------------------------------------------------------------------------------------------


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


def _value(value: torch.Tensor) -> Callable[[Path], None]:
    return _tensors(lambda tensors: tensors.update({FIRST: value}))


_add("tensor_missing", WeightsError, "missing .'head.output.bias'", _tensors(lambda t: t.pop(FIRST)))
_add("tensor_added", WeightsError, "unexpected .'backdoor'", _tensors(lambda t: t.update(backdoor=torch.zeros(2))))
_add("tensors_added_many", WeightsError, "claims|unexpected", _tensors(
    lambda t: t.update({f"x{i}" * 9: torch.zeros(1) for i in range(4_000)})))  # fmt: skip
_add("tensor_with_an_evil_name", WeightsError, r"unexpected .'\\x1b\[31m", _tensors(
    lambda t: t.update({"\x1b[31m\n" + "y" * 5000: torch.zeros(1)})))  # fmt: skip
_add(
    "tensor_nan",
    WeightsError,
    "head.output.bias holds values that are not finite",
    _value(torch.tensor([0, torch.nan, 0])),
)
_add("tensor_infinite", WeightsError, "not finite", _value(torch.tensor([0, torch.inf, 0])))
_add("tensor_other_shape", WeightsError, r"F32 \[4\].*asks for", _value(torch.zeros(4)))
_add("tensor_other_type", WeightsError, "is F64", _value(torch.zeros(3, dtype=torch.float64)))
_add("tensor_of_integers", WeightsError, "is I64", _value(torch.zeros(3, dtype=torch.int64)))
_add("tensor_scalar", WeightsError, r"F32 \[\]", _value(torch.tensor(0.0)))
_add("tensor_none_at_all", WeightsError, "missing", _tensors(dict.clear))


# --- other files that pose as a model's ------------------------------------------------------------------------------


class _Evil:
    """Unpickling it runs a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{canary(self.folder)}'",)


def _zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _posing(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content(folder)) and None


def _torch_save(folder: Path, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({FIRST: torch.zeros(3), "evil": _Evil(folder)}, buffer, **settings)
    return buffer.getvalue()


_ZEROS = bytes(1 << 25)
for _name, _error in (("model.safetensors", WeightsError), ("config.json", ConfigError)):
    _kind = "weights" if _error is WeightsError else "config"
    for _what, _content in {
        "pickle": lambda folder: pickle.dumps(_Evil(folder)),
        "old_pickle": lambda folder: pickle.dumps(_Evil(folder), protocol=0),
        "torch_file": _torch_save,
        "old_torch_file": lambda folder: _torch_save(folder, _use_new_zipfile_serialization=False),
        "zip_bomb": lambda folder: _zip({"model.safetensors": _ZEROS}),
        "gzip_bomb": lambda folder: gzip.compress(_ZEROS),
        "python": lambda folder: f"open({str(canary(folder))!r}, 'w')".encode(),
        "shell_script": lambda folder: f"#!/bin/sh\ntouch '{canary(folder)}'\n".encode(),
    }.items():
        _add(f"{_what}_as_{_kind}", _error, "header claims|cannot read|not a readable JSON", _posing(_name, _content))

_add("gzipped_weights", WeightsError, "header claims", _bytes(gzip.compress))


@_hostile("pickle_behind_a_header", WeightsError, "missing")
def _pickle_behind_a_header(folder: Path) -> None:
    """A whole safetensors file, whose only tensor is a pickle."""
    content = torch.frombuffer(bytearray(pickle.dumps(_Evil(folder))), dtype=torch.uint8)
    (folder / "model.safetensors").write_bytes(save({"data.pkl": content}))


@_hostile("pickles_and_code_beside_a_model", None, "")
def _beside(folder: Path) -> None:
    """What other loaders would open: none of it is looked at."""
    code = f"open({str(canary(folder))!r}, 'w')\n"
    for name in ("modeling_lem.py", "__init__.py", "setup.py", "sitecustomize.py", "torch.py", "conftest.py"):
        (folder / name).write_text(code)
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "model.ckpt",
        "head.pkl",
        "optimizer.bin",
        "metrics.json",
        "README.md",
    ):
        (folder / name).write_bytes(pickle.dumps(_Evil(folder)))


# --- links and other things that are no files ------------------------------------------------------------------------


def _link(name: str, target: Callable[[Path], str | Path], *, move: bool = False) -> Callable[[Path], None]:
    """Put a link in a file's place; with ``move``, the file itself is moved to where the link leads."""

    def replace(folder: Path) -> None:
        where = target(folder)
        if move:
            shutil.copy(folder / name, folder / where)
        (folder / name).unlink()
        (folder / name).symlink_to(where)

    return replace


for _name, _error in (("model.safetensors", WeightsError), ("config.json", ConfigError)):
    _kind = "weights" if _error is WeightsError else "config"
    for _what, _target in {
        "dots": lambda folder, name=_name: f"../outside/{name}",
        "many_dots": lambda folder, name=_name: f"{'../' * 30}{(folder.parent / 'outside' / name).relative_to('/')}",
        "absolute": lambda folder, name=_name: folder.parent / "outside" / name,
    }.items():
        _add(f"{_kind}_link_{_what}", _error, "leads out of its folder", _link(_name, _target, move=True))
    _add(f"{_kind}_link_to_passwd", _error, "leads out of its folder", _link(_name, lambda folder: "/etc/passwd"))
    for _what, _target in {
        "unc": lambda folder, name=_name: f"\\\\server\\share\\{name}",
        "itself": lambda folder, name=_name: name,
        "nowhere": lambda folder: "/nowhere/at/all",
        "zeros": lambda folder: "/dev/zero",
        "folder": lambda folder: "/etc",
    }.items():
        _add(f"{_kind}_link_{_what}", UnknownNameError, "is not a model: it lacks", _link(_name, _target))

    def _pipe(folder: Path, name: str = _name) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    _add(f"{_kind}_a_pipe", UnknownNameError, "is not a model: it lacks", _pipe)


_add("card_link_to_passwd", None, "", lambda folder: (folder / "README.md").symlink_to("/etc/passwd"))


@_hostile("snapshot_link_out_of_the_cache", WeightsError, "leads out of its folder")
def _snapshot(folder: Path) -> None:
    """A folder named like one of the Hub's cache has no more rights than the cache: here, files of another model."""
    other = folder.parent / "models--someone--private" / "blobs"
    inside = folder.parent / "models--evil--model" / "snapshots" / ("0" * 40)
    other.mkdir(parents=True)
    inside.parent.mkdir(parents=True)
    shutil.copy(folder / "model.safetensors", other / "weights")
    shutil.copytree(folder, inside)
    (inside / "model.safetensors").unlink()
    (inside / "model.safetensors").symlink_to("../../../models--someone--private/blobs/weights")
    shutil.rmtree(folder)
    folder.symlink_to(inside)


# --- configurations --------------------------------------------------------------------------------------------------


def _config(**changes: Any) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return rewrite


def _text(change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / "config.json"
        text = change(path.read_text())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return rewrite


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


_SIZES = ("horizon", "warmup", "block", "embedding_dim", "hidden_size", "tkan_layers", "attention_heads")
for _field in (*_SIZES, "attention_window"):
    _add(f"config_{_field}_1e9", ConfigError, _field, _config(**{_field: 10**9}))
    _add(f"config_{_field}_negative", ConfigError, _field, _config(**{_field: -1}))
for _kind, _wrong in {
    "text": "12",
    "fraction": 12.5,
    "truth": True,
    "null": None,
    "list": [12],
    "map": {"a": 1},
}.items():
    _add(f"config_horizon_a_{_kind}", ConfigError, "horizon", _config(horizon=_wrong))
    _add(f"config_head_config_a_{_kind}", ConfigError, "head_config", _config(head_config=_wrong))
    if _kind != "text":
        _add(f"config_head_a_{_kind}", ConfigError, "head", _config(head=_wrong))
        _add(f"config_encoder_a_{_kind}", ConfigError, "encoder", _config(encoder=_wrong))
_add("config_hidden_1e6", ConfigError, "hidden_size", _config(hidden_size=10**6))
_add("config_largest_of_everything", ConfigError, "weights; at most", _config(
    horizon=512, embedding_dim=256, hidden_size=2048, tkan_layers=16, attention_heads=64, attention_window=4096,
    head_config={"hidden_size": 4096, "layers": 16}))  # fmt: skip
_add("config_large_but_legal", WeightsError, "does not fit the configuration", _config(
    hidden_size=1024, tkan_layers=4))  # fmt: skip
_add("config_paper_head_horizon_512", ConfigError, "'paper' head would have", _config(
    head="paper", head_config={"hidden_size": 256}, horizon=512))  # fmt: skip
for _head in ("flexible", "fixed_duration", "static_curve", "paper"):
    for _key in ("hidden_size", "layers")[: 1 if _head == "paper" else 2]:
        for _size in (10**9, 10**5):
            _add(f"config_{_head}_{_key}_{_size}", ConfigError, _key, _config(head=_head, head_config={_key: _size}))
_add(
    "config_head_config_many",
    ConfigError,
    "at most 64 settings",
    _config(head_config={f"a{i}": i for i in range(9000)}),
)
_add("config_head_config_unknown", ConfigError, "head_config of 'flexible'", _config(head_config={"width": 3}))
_add("config_head_config_deep", ConfigError, "nested more than", _config(head_config={"hidden_size": _deep(200)}))
_add("config_head_config_evil_key", ConfigError, r"'\\x1b\[2J", _config(head_config={"\x1b[2J\n": 1}))
_add("config_head_unknown", ConfigError, "unknown head 'transformer'", _config(head="transformer"))
_add("config_head_a_function", ConfigError, "unknown head 'os.system'", _config(head="os.system"))
_add("config_head_a_file", ConfigError, "unknown head", _config(head="./modeling_lem.py"))
_add("config_head_long", ConfigError, "unknown head", _config(head="x" * 200_000))
_add("config_features_unknown", ConfigError, "unknown features", _config(features=["tomorrow"]))
_add("config_features_evil", ConfigError, "unknown features", _config(features=["\x1b[2J" + "x" * 9999] * 9))
_add("config_features_many", ConfigError, "a feature occurs twice", _config(features=["range"] * 20_000))
_add("config_features_a_map", ConfigError, "features", _config(features={"range": 1}))
_add("config_schema_other", ConfigError, "schema_version 99", _config(schema_version=99))
_add("config_schema_deep", ConfigError, "nested more than", _config(schema_version=_deep(500)))
_add("config_schema_long", ConfigError, "schema_version 'xxx", _config(schema_version="x" * 200_000))
_add(
    "config_unseen_from_many",
    ConfigError,
    "unseen_from",
    _config(unseen_from={f"{i}h": "2024-01-01" for i in range(999)}),
)
_add("config_unseen_from_evil", ConfigError, "unseen_from", _config(unseen_from={"\x1b[2J\n": "2024-01-01"}))
_add("config_unseen_from_no_date", ConfigError, "unseen_from", _config(unseen_from={"1h": "tomorrow"}))
for _code in ("auto_map", "custom_code", "trust_remote_code", "custom_pipelines", "_target_", "code"):
    _add(
        f"config_remote_code_{_code}",
        ConfigError,
        f"names code .{_code}",
        _config(**{_code: {"AutoModel": "modeling_lem.LEM"}}),
    )
_add("config_dunder_class", ConfigError, "__class__", _config(__class__="os.system"))
_add("config_dunder_reduce", ConfigError, "__reduce__", _config(__reduce__=["os.system", "ls"]))
_add("config_py_object", ConfigError, "py/object", _config(**{"py/object": "os.system"}))
_add("config_model_config", ConfigError, "model_config", _config(model_config={"extra": "allow"}))
_add("config_self", ConfigError, "self", _config(self=1))
_add("config_evil_key", ConfigError, r"'\\x1b\]0;", _config(**{"\x1b]0;\x07\nERROR all is lost": 1}))
_add("config_long_key", ConfigError, "xxx", _config(**{"x" * 200_000: 1}))
_add("config_half_a_surrogate", ConfigError, "refused", _text(lambda t: t.replace('"flexible"', '"\\ud800"')))
_add("config_half_a_surrogate_key", ConfigError, "refused", _text(lambda t: t.replace('"horizon"', '"\\ud800"')))
_add(
    "config_repeats_a_key",
    ConfigError,
    "a key occurs twice: 'horizon'",
    _text(lambda t: t.replace("{", '{"horizon": 6,', 1)),
)
_add(
    "config_repeats_a_nested_key",
    ConfigError,
    "a key occurs twice: 'layers'",
    _text(lambda t: t.replace('"layers"', '"layers": 1, "layers"')),
)
_add("config_deep", ConfigError, "nested more than", _text(lambda t: "[" * 100_000))
_add("config_deep_maps", ConfigError, "nested more than", _text(lambda t: '{"a":' * 40_000))
_add("config_nan", ConfigError, "not finite: NaN", _text(lambda t: t.replace('"dropout": 0.0', '"dropout": NaN')))
_add("config_infinity", ConfigError, "not finite", _text(lambda t: t.replace('"dropout": 0.0', '"dropout": 1e999')))
_add(
    "config_long_number",
    ConfigError,
    "digits",
    _text(lambda t: t.replace('"horizon": 6', '"horizon": ' + "9" * 200_000)),
)
_add("config_large", ConfigError, "more than 262,144 bytes", _text(lambda t: t + " " * (1 << 25)))
_add("config_many_values", ConfigError, "must hold a JSON object", _text(lambda t: "[" + "[]," * 80_000 + "[]]"))
_add("config_empty", ConfigError, "not a readable JSON", _text(lambda t: ""))
_add("config_null", ConfigError, "must hold a JSON object", _text(lambda t: "null"))
_add("config_a_list", ConfigError, "must hold a JSON object", _text(lambda t: f"[{t}]"))
_add("config_null_bytes", ConfigError, "not a readable JSON", _text(lambda t: t + "\0"))
_add("config_utf16", ConfigError, "not a readable JSON", _text(lambda t: t.encode("utf-16")))
_add("config_not_utf8", ConfigError, "not a readable JSON", _text(lambda t: t.encode() + b"\xff"))
_add("config_twice", ConfigError, "not a readable JSON", _text(lambda t: t + t))
_add("config_with_comments", ConfigError, "not a readable JSON", _text(lambda t: "// a comment\n" + t))


@_hostile("config_sparse", ConfigError, "more than 262,144 bytes")
def _sparse_config(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(1 << 40)
