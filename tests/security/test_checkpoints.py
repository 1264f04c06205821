"""Training checkpoints are pickles: they are opened as plain data, or not at all."""

import io
import os
import pickle
import tarfile
import zipfile

import pytest
import torch

from lem_models.errors import ConfigError
from lem_models.modeling.model import LEMModel
from lem_models.training.checkpoint import check_checkpoint, read_checkpoint

SOUND = {
    "state_dict": {"a": torch.zeros(2)},
    "optimizer_states": [],
    "lr_schedulers": [],
    "loops": {},
    "callbacks": {},
    "epoch": 1,
    "global_step": 2,
}


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


def _saved(content, **settings):
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def _repacked(compression):
    """The same members, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved(SOUND))) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def _overlapping():
    """A central directory that lists one member a hundred times."""
    data = _saved({**SOUND, "state_dict": {"a": torch.zeros(5000)}})
    end = data.rindex(b"PK\x05\x06")
    size, start = (int.from_bytes(data[end + at : end + at + 4], "little") for at in (12, 16))
    entries = data[start : start + size] * 100
    count = (int.from_bytes(data[end + 8 : end + 10], "little") * 100).to_bytes(2, "little")
    tail = data[end : end + 8] + count * 2 + len(entries).to_bytes(4, "little") + start.to_bytes(4, "little") + b"\0\0"
    return data[:start] + entries + tail


def test_a_sound_one_is_read(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(_saved(SOUND))
    check_checkpoint(tmp_path / "a.ckpt")
    assert read_checkpoint(str(tmp_path / "a.ckpt"))["global_step"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda target: _saved({**SOUND, "evil": Evil(target)}), "UnpicklingError$"),
        (lambda target: _saved({**SOUND, "callbacks": {"x": Evil(target)}}), "UnpicklingError$"),
        (
            lambda target: _saved({**SOUND, "evil": Evil(target)}, _use_new_zipfile_serialization=False),
            "not an archive",
        ),
        (lambda target: pickle.dumps({**SOUND, "evil": Evil(target)}), "not an archive"),
        (lambda target: _tar(), "not an archive"),
        (lambda target: b"", "not an archive"),
        (lambda target: b"PK\x03\x04" + bytes(99), "BadZipFile"),
        (lambda target: _saved(SOUND)[:-100], "BadZipFile"),
        (lambda target: _repacked(zipfile.ZIP_DEFLATED), "members are compressed"),
        (lambda target: _overlapping(), "members overlap"),
        (lambda target: _saved([1, 2]), "holds a list"),
        (lambda target: _saved({1: 2}), "holds a dict"),
        (lambda target: _saved({"state_dict": {}}), "lacks optimizer_states, lr_schedulers"),
        (lambda target: _saved({**SOUND, "state_dict": {"a": "b"}}), "not tensors by name"),
        (lambda target: _saved({**SOUND, "state_dict": torch.zeros(2)}), "not tensors by name"),
        (lambda target: _saved({**SOUND, "a": LEMModel}), "UnpicklingError$"),
    ],
)
def test_others_are_refused_and_run_nothing(content, message, tmp_path):
    target = tmp_path / "CODE-WAS-RUN"
    (tmp_path / "a.ckpt").write_bytes(content(target))
    with pytest.raises(ConfigError, match=message) as caught:
        check_checkpoint(tmp_path / "a.ckpt")
    assert not target.exists()
    assert "weights_only" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    for name in ("nothing.ckpt", "pipe.ckpt", "."):
        with pytest.raises(ConfigError, match="there is no checkpoint"):
            check_checkpoint(tmp_path / name)


def test_a_model_does_not_load_from_a_checkpoint(tmp_path):
    target = tmp_path / "CODE-WAS-RUN"
    (tmp_path / "a.ckpt").write_bytes(_saved({**SOUND, "evil": Evil(target)}))
    with pytest.raises(ConfigError, match="from_pretrained"):
        LEMModel.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert not target.exists()
