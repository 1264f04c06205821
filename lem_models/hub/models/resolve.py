"""Find the model folder of a name.

A name is one of these, in this order:

1. a bundled name, which has no slash (``"lem-crypto-hourly"``): the folder in the package, also when the working
   directory has a folder of this name (write ``"./lem-crypto-hourly"`` for the latter);
2. a folder that exists, relative or absolute; a :class:`~pathlib.Path` is always a folder;
3. a Hub id, ``"org/name"``. It is read from the cache if the Hub cannot be asked.

Files of the Hub are checked against the hash that the Hub states, each time they are read from the cache.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from lem_models.errors import ConfigError, HubError, LEMError, UnknownNameError, WeightsError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.guard.text import shown
from lem_models.hub.client import ask, is_offline
from lem_models.hub.models.folder import missing_files
from lem_models.hub.models.registry import bundled_folder, bundled_names
from lem_models.hub.names import CONFIG_NAME, WEIGHTS_NAME
from lem_models.modeling.config import MAX_CONFIG_BYTES, MAX_WEIGHTS

__all__ = ["resolve"]

_FILES = (CONFIG_NAME, WEIGHTS_NAME)
_LARGEST_HEADER = 1 << 24
_LARGEST = {CONFIG_NAME: MAX_CONFIG_BYTES, WEIGHTS_NAME: 8 * MAX_WEIGHTS + _LARGEST_HEADER}


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Folder of a model: a bundled name, a folder, else a Hub id ``org/name``, in this order.

    Args:
        name: See the module.
        revision: Branch, tag or commit of a Hub id.
        token: Token for the Hub.
        cache_dir: Folder of the cache; default the client's (``HF_HUB_CACHE``).
        local_files_only: Whether to work without the Hub; ``HF_HUB_OFFLINE=1`` does the same.

    Raises:
        UnknownNameError: when nothing has this name; the error names the closest.
        ConfigError: when a bundled model or a folder is named with a revision, or the configuration on the Hub is too
            large.
        WeightsError: when the weights on the Hub are larger than those of any model.
        HubError: when the Hub cannot be asked and the model is not cached, the Hub does not have it, or the files do
            not have the stated hashes.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise UnknownNameError(f"a model is a bundled name, a folder or a Hub id; got {name!r}")
    folder = _place(name)
    if isinstance(name, str) and name in bundled_names():
        _no_revision(revision, f"{name!r} is bundled with the package")
        return bundled_folder(name)
    if isinstance(name, Path) or os.path.isdir(folder):  # False, and no error, for a folder that cannot be read
        _no_revision(revision, f"{str(name)!r} is a folder")
        hides = (
            f"; a folder takes precedence over the Hub's {name!r}" if isinstance(name, str) and is_hub_id(name) else ""
        )
        if missing := missing_files(folder):
            raise _no_model(f"the folder {folder}", missing, hides)
        return folder
    if not is_hub_id(name):
        if _is_path(name):
            raise UnknownNameError(_no_folder(name))
        raise UnknownNameError.among("model", name, bundled_names())
    return _from_hub(name, revision, token, cache_dir, local_files_only)


def _is_path(name: str) -> bool:
    """Whether a name can only be a path: ``./model``, ``../model``, ``/models/mine``, ``~/model``, ``a/b/c``."""
    return name.startswith((".", "~", os.sep)) or name.count("/") > 1 or "\\" in name


def _place(name: str | Path) -> Path:
    return Path(os.path.expanduser(name)) if isinstance(name, str) else name


def _no_folder(name: str) -> str:
    """Sentence about a path where no model is, with folders beside it that have a similar name."""
    folder = _place(name)
    try:
        beside = [each.name for each in folder.parent.iterdir() if each.is_dir()]
    except OSError:
        return f"there is no folder {shown(name)}, and none {shown(str(folder.parent))} either"
    close = get_close_matches(folder.name, beside, n=2, cutoff=0.6)
    hint = f"; did you mean {' or '.join(shown(str(folder.parent / each)) for each in close)}?" if close else ""
    return f"there is no folder {shown(name)}{hint}"


def _no_revision(revision: str | None, what: str) -> None:
    if revision is not None:
        raise ConfigError(f"{what} and has no revisions; revision={revision!r} is for Hub ids")


def _no_model(what: str, missing: list[str], hint: str = "") -> UnknownNameError:
    return UnknownNameError(f"{what} is not a model: it lacks {' and '.join(missing)}{hint}")


# --- the Hub ---------------------------------------------------------------------------------------------------------


def _from_hub(
    name: str, revision: str | None, token: str | bool | None, cache_dir: str | Path | None, local_files_only: bool
) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import RevisionNotFoundError

    from lem_models.hub.repository import cache_folder, cache_root, check_copy, describe  # reads YAML: not for a folder

    cache = cache_root(cache_dir)
    offline = local_files_only or is_offline()
    at = f" at {revision!r}" if revision else ""

    def cached() -> Path:
        folder = Path(
            snapshot_download(
                name, revision=revision, cache_dir=cache, local_files_only=True, allow_patterns=list(_FILES)
            )
        )
        if not all((folder / file).is_file() for file in _FILES):
            raise FileNotFoundError(f"{name} is not complete in the cache")
        return folder

    def checked(folder: Path) -> Path:
        for file in _FILES:
            check_copy(folder / file, name)
        return folder

    def download() -> Path:
        try:
            repository = describe(name, "model", revision, token)
        except (LEMError, RevisionNotFoundError):
            raise
        except Exception:  # for any other reason, use a copy in the cache
            with contextlib.suppress(Exception):
                return checked(cached())
            raise
        if missing := [file for file in _FILES if file not in repository.files]:
            raise _no_model(f"the Hub repository {name!r}{at}", missing)
        files = [repository.files[file] for file in _FILES]
        _check_sizes({file.path: file.size for file in files}, name)
        for file in files:
            repository.fetch(file, cache)
        repository.note(revision or constants.DEFAULT_REVISION, cache)
        return cache_folder(name, "model", cache) / "snapshots" / repository.commit

    try:
        folder = ask(f"get {name!r}{at} from the Hub", name, cached if offline else download, token=token, cache=cache)
    except HubError as error:
        problem = _with_hints(error, name, revision, cache, offline=offline)
    else:
        return checked(folder) if offline else folder
    raise problem  # outside the handler: the context of our error must not hold the client's error


def _check_sizes(stated: Mapping[str, int | None], name: str) -> None:
    """Check the sizes that the Hub states, before anything is downloaded."""
    for file, largest in _LARGEST.items():
        size = stated.get(file) or 0
        if size > largest:
            kind = ConfigError if file == CONFIG_NAME else WeightsError
            raise kind(f"{file} of {name!r} has {size:,} bytes, more than {largest:,}: nothing was downloaded")


def _with_hints(error: HubError, name: str, revision: str | None, cache: Path, *, offline: bool) -> HubError:
    """The error with hints that the client lacks: bundled models, cached models, and how to get the rest."""
    get = f"`hf download {name}{f' --revision {revision}' if revision else ''} {' '.join(_FILES)}`"
    if offline:
        why = "local_files_only is set" if not is_offline() else "HF_HUB_OFFLINE is set"
        text = (
            f"cannot get {name!r}{f' at {revision!r}' if revision else ''} from the Hub: {why}, and it is not cached "
            f"in {cache}. Get it once with network access: {get}"
        )
    elif error.status is None:
        text = f"{error}. It is not cached in {cache} either; once it is ({get}), no network is needed"
    else:
        text = str(error)
    if error.status in (401, 404) and (close := _closest(name, cache)):
        text += f". Did you mean {' or '.join(map(repr, close))}?"
    return HubError(
        f"{text}{'' if text.endswith('?') else '.'} Bundled models need no network: {', '.join(bundled_names())}",
        repo_id=name,
        status=error.status,
        retry_after=error.retry_after,
    )


def _closest(name: str, cache: Path) -> list[str]:
    """Names similar to a Hub id: of bundled models, which have no organisation, and of models in the cache."""
    bundled = get_close_matches(name.partition("/")[2], bundled_names(), n=1, cutoff=0.8)
    cached = get_close_matches(name, [one for one in _cached(cache) if one != name], n=2, cutoff=0.8)
    return [*bundled, *cached]


def _cached(cache: Path) -> list[str]:
    """Hub ids of the models in the cache."""
    try:
        names = [path.name.split("--") for path in cache.glob("models--*--*")]
    except OSError:
        return []
    return ["/".join(parts[1:]) for parts in names if len(parts) == 3]
