"""A million vectors that nobody has in memory."""

import tracemalloc
from itertools import count, islice

import numpy as np
import pytest

from invlib import paths
from invlib.cli import main
from invlib.models.model import InvertibleSentenceModel

MILLION = 1_000_000


@pytest.fixture
def peak():
    """peak(): the most bytes that Python and numpy have taken since the last call."""
    tracemalloc.start()

    def most() -> int:
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return size

    yield most
    tracemalloc.stop()


def test_a_chunk_of_a_mapped_million_needs_the_memory_of_a_chunk(tiny_model, tmp_path, peak):
    model = tiny_model()
    vectors = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float16, (MILLION, 32))
    vectors[-3:] = model.encode(["oil falls", "gold", "uber slips again"])
    peak()
    decoded = model.decode(vectors[-64:])
    assert peak() < 4e6 < vectors.nbytes and len(decoded) == 64
    assert decoded[-3:] == model.decode(np.array(vectors[-3:]))


def test_of_a_million_lazy_texts_a_chunk_alone_is_read(tiny_model, peak):
    read = []
    texts = (read.append(k) or f"oil falls on {'abcdefghij'[k % 10]}" for k in count())
    peak()
    assert tiny_model().encode(islice(texts, 64)).shape == (64, 32)
    assert read == list(range(64)) and peak() < 4e6


def test_the_command_reads_a_million_in_chunks(tiny_model, tmp_path, monkeypatch, peak):
    """All are looked through before the first is decoded; stopped after a chunk, nothing is left half-written."""
    tiny_model().save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("oil falls\n")
    main(["encode", "texts.txt", "--model", str(tmp_path / "model"), "--output", "z.npy"])
    one = np.load("z.npy")
    vectors = np.lib.format.open_memmap("z.npy", "w+", np.float16, (MILLION, 32))
    vectors[0] = one[0]
    del vectors
    paths.write_json("z.json", paths.read_json("z.json") | {"n": MILLION})
    sizes, decode = [], InvertibleSentenceModel.decode

    def stopped(self, z, **more):
        if sizes:
            raise KeyboardInterrupt
        sizes.append(len(z))
        return decode(self, z[:1], **more) * len(z)

    monkeypatch.setattr(InvertibleSentenceModel, "decode", stopped)
    peak()
    with pytest.raises(SystemExit, match="130"):
        main(["decode", "z.npy", "--output", "decoded.txt"])
    assert sizes == [1024] and peak() < 16e6 < 2 * 32 * MILLION
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "texts.txt", "z.json", "z.npy"]
