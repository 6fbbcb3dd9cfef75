"""What all commands have in common: chunks, progress, and an output that takes its name when it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from invlib import paths

if TYPE_CHECKING:  # torch takes seconds
    from invlib.models.model import InvertibleSentenceModel

CHUNK = 1024  # texts or vectors in memory at once

progress = partial(tqdm, unit=" texts", mininterval=2, disable=None)  # on standard error, where it is a terminal


def write(out: IO[bytes], text: str) -> None:
    """UTF-8, at once; a bar on the same terminal makes way for it."""
    with tqdm.external_write_mode(file=sys.stdout):
        out.write(text.encode())
        out.flush()


def check_output(output: Path, *read: Path) -> None:
    """Raise where `output` is neither a new name nor a plain file that may be replaced, or is one of those read."""
    if output.is_symlink() or (output.exists() and not output.is_file()):
        kind = "a link" if output.is_symlink() else "a folder" if output.is_dir() else "a device or a pipe"
        raise ValueError(f"--output {output} is {kind}, and would become a file; give the name of a file")
    if output.exists() and any(file.exists() and output.samefile(file) for file in read):
        raise ValueError(f"--output {output} is one of the files that are read; give another name")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(output.parent)!r} for {output.name}; make it, or give another")


def folder_of(model: "InvertibleSentenceModel") -> Path:
    """The folder that a model was saved to or loaded from; ValueError for one that was neither."""
    if model.folder is None:
        raise ValueError("this model has no folder, which is noted beside its vectors; save it first: save_pretrained")
    return model.folder


@contextmanager
def renamed_when_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when the block ends, and is gone where the block fails."""
    with paths.renamed(file) as unfinished, unfinished.open("wb") as out:
        yield out


def part_of(vectors: Path, start: int) -> np.ndarray:
    """CHUNK vectors as float32; mapped anew each time, so that what was read before leaves the memory."""
    return np.load(vectors, mmap_mode="r")[start : start + CHUNK].astype(np.float32)


def mapped(vectors: Path) -> np.ndarray:
    """An .npy file's array, mapped; FileNotFoundError, or ValueError where it is no whole .npy file of numbers."""
    if not vectors.is_file():
        raise FileNotFoundError(f"no plain file {str(vectors)!r}; give an .npy file of invlib encode or numpy.save")
    with vectors.open("rb") as file:
        if file.read(6) != np.lib.format.MAGIC_PREFIX:
            raise ValueError(f"{vectors} is no .npy file; give one array, as invlib encode or numpy.save writes it")
    try:
        return np.load(vectors, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{vectors}: no whole .npy file of numbers ({error}); make it again") from error
