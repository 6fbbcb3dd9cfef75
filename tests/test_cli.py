"""The command line: files of texts to vectors and back, in chunks, with nothing left half-written."""

import hashlib
import re
import signal
import tomllib

import numpy as np
import pytest

from invlib import cli, paths
from invlib.models.model import InvertibleSentenceModel
from invlib.training.record import model_hash


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A saved model of random weights."""
    tiny_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty folder to work in."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def invlib(*arguments) -> None:
    cli.main([str(a) for a in arguments])


def refused(capsys, *arguments) -> str:
    """The error of a call that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        invlib(*arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def encoded(work, folder, sentences):
    """texts.txt and its vectors.npy and vectors.json."""
    (work / "texts.txt").write_text("\n".join(sentences) + "\n")
    invlib("encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    return work


def names(place) -> list[str]:
    return sorted(p.name for p in place.iterdir())


# Round trip


def test_there_and_back_is_the_models_own_round_trip(encoded, folder, sentences, capsys):
    model = InvertibleSentenceModel.from_pretrained(folder)
    z = np.load("vectors.npy", mmap_mode="r")
    assert z.dtype == np.float16 and z.shape == (64, 32)
    np.testing.assert_array_equal(z, model.encode(sentences).astype(np.float16))
    said = model.decode(z.astype(np.float32))
    capsys.readouterr()
    invlib("decode", "vectors.npy")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == said and "decoding" in shown.err
    invlib("decode", "vectors.npy", "--model", folder, "--num-beams", 3, "--output", "said.txt")
    assert (encoded / "said.txt").read_text().splitlines() == model.decode(z.astype(np.float32), num_beams=3)
    assert names(encoded) == ["said.txt", "texts.txt", "vectors.json", "vectors.npy"]


def test_the_json_says_what_made_the_vectors(encoded, folder, tiny_encoder):
    assert paths.read_json("vectors.json") == {
        "model": "model", "folder": str(folder), "model_hash": model_hash(folder), "encoder": tiny_encoder.name,
        "encoder_hash": tiny_encoder.hash, "embedding_dim": 32, "n": 64,
        "texts_hash": hashlib.sha256((encoded / "texts.txt").read_bytes()).hexdigest()[:12],
    }  # fmt: skip


def test_a_model_may_be_named_and_may_have_moved(run, work, tiny_model, capsys, monkeypatch):
    model = tiny_model()
    model.save_pretrained(run / "models" / "att_pool_32")
    monkeypatch.setenv("INVLIB_RUN", "test")
    (work / "texts.txt").write_text("gold rises\n")
    invlib("encode", "texts.txt", "--model", "att_pool_32", "--output", "vectors.npy")
    made = paths.read_json("vectors.json")
    paths.write_json("vectors.json", {**made, "folder": "/elsewhere"})
    capsys.readouterr()
    invlib("decode", "vectors.npy")
    assert capsys.readouterr().out == model.reconstruct(["gold rises"])[0] + "\n"
    assert "no model 'other'" in refused(capsys, "decode", "vectors.npy", "--model", "other")


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfgold rises\r\noil falls", b"gold rises\noil falls\n"])
def test_marks_and_line_ends_are_no_part_of_a_sentence(work, folder, raw):
    (work / "texts.txt").write_bytes(raw)
    assert list(cli.lines_of(work / "texts.txt")) == ["gold rises", "oil falls"]
    invlib("encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert np.load("vectors.npy").shape == (2, 32)


# Memory


def test_no_more_than_a_chunk_is_in_memory(work, folder, sentences, monkeypatch):
    """The file is read as a stream: what the model gets at once is a chunk, and the chunks make the whole."""
    monkeypatch.setattr(cli, "CHUNK", 10)
    sizes, model = [], InvertibleSentenceModel
    (work / "texts.txt").write_text("\n".join(sentences))
    true = {name: getattr(model, name) for name in ("encode", "decode")}

    def counted(name):
        def call(self, given, *args, **kwargs):
            sizes.append(len(given))
            return true[name](self, given, *args, **kwargs)

        return call

    for name in true:
        monkeypatch.setattr(model, name, counted(name))
    invlib("encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert sizes == [10] * 6 + [4]
    invlib("decode", "vectors.npy", "--output", "said.txt")
    assert sizes[7:] == [10] * 6 + [4]
    monkeypatch.undo()
    whole = InvertibleSentenceModel.from_pretrained(folder)
    np.testing.assert_allclose(np.load(work / "vectors.npy"), whole.encode(sentences), atol=0.05)
    assert len((work / "said.txt").read_text().splitlines()) == 64
    lines = cli.lines_of(work / "texts.txt")
    assert next(lines) == sentences[0] and not isinstance(lines, list)


# What can't be encoded


@pytest.mark.parametrize("line, said", [
    (b"", "texts.txt:17: sentence is empty; "), (b"  \t", "texts.txt:17: sentence is empty; "),
    (b"oil " * 15, "texts.txt:17: sentence has 17 word pieces.*at most 16"),
    (b"gold \xff", "texts.txt:17: not UTF-8"), (b"\xe2\x80\x8b", "texts.txt:17: sentence has no word piece"),
])  # fmt: skip
def test_a_line_that_cant_be_encoded_is_named_and_leaves_nothing(work, folder, sentences, capsys, line, said):
    raw = [s.encode() for s in sentences]
    raw[16] = line
    (work / "texts.txt").write_bytes(b"\n".join(raw))
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert error.startswith("invlib: ")
    assert re.search(said, error)
    assert names(work) == ["texts.txt"]


def test_somebody_elses_json_is_not_written_over(work, folder, capsys):
    (work / "texts.txt").write_text("gold rises\n")
    (work / "vectors.json").write_text('{"mine": 1}')
    said = refused(capsys, "encode", "texts.txt", "--model", str(folder), "--output", "vectors.npy")
    assert "vectors.json" in said and "give another name" in said
    assert (work / "vectors.json").read_text() == '{"mine": 1}' and not (work / "vectors.npy").exists()


def test_a_model_of_another_kind_is_refused(work, tiny_lm_folder, capsys):
    (work / "texts.txt").write_text("gold rises\n")
    said = refused(capsys, "encode", "texts.txt", "--model", tiny_lm_folder, "--output", "vectors.npy")
    assert "'gpt_neox', not 'invertible_sentence'" in said


def test_what_is_not_there_is_named(work, folder, capsys):
    encode = ("--model", folder, "--output", "vectors.npy")
    assert "texts.txt" in refused(capsys, "encode", "texts.txt", *encode)
    (work / "texts.txt").write_text("")
    assert "texts.txt: no sentence in it" in refused(capsys, "encode", "texts.txt", *encode)
    (work / "texts.txt").write_text("gold rises\n")
    assert "no folder 'out'" in refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "out/v.npy")
    assert "ends in .npy" in refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "v.bin")
    assert "no model 'none'" in refused(capsys, "encode", "texts.txt", "--model", "none", "--output", "vectors.npy")
    assert "no file 'vectors.npy'" in refused(capsys, "decode", "vectors.npy")
    assert names(work) == ["texts.txt"]


@pytest.mark.parametrize("number", [1e6, np.nan])
def test_what_half_precision_cant_hold_is_an_error(work, folder, sentences, capsys, monkeypatch, number):
    monkeypatch.setattr(cli, "CHUNK", 10)
    true = InvertibleSentenceModel.encode

    def beyond(self, texts, **_):
        z = true(self, texts)
        z[[t == sentences[16] for t in texts], 3] = number
        return z

    monkeypatch.setattr(InvertibleSentenceModel, "encode", beyond)
    (work / "texts.txt").write_text("\n".join(sentences))
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert "texts.txt:17: its vector" in error and names(work) == ["texts.txt"]


# What can't be decoded


def test_vectors_of_another_model_are_refused(encoded, tiny_model, tmp_path, capsys):
    tiny_model(embedding_dim=64).save_pretrained(tmp_path / "other")
    error = refused(capsys, "decode", "vectors.npy", "--model", tmp_path / "other")
    assert "made by model 'model'" in error and model_hash(tmp_path / "other") in error


@pytest.mark.parametrize("change, said", [
    (lambda z: z[:, :31], r"\(64, 31\)"), (lambda z: z[:63], r"\(63, 32\)"), (lambda z: z.astype(float), "float64"),
    (lambda z: np.where(np.arange(64)[:, None] == 5, np.float16(np.nan), z), "vector 6 holds NaN"),
    (lambda z: np.where(np.arange(64)[:, None] == 5, np.float16(np.inf), z), "vector 6 holds NaN or infinity"),
])  # fmt: skip
def test_vectors_that_are_not_what_was_written_are_refused(encoded, capsys, change, said):
    np.save("vectors.npy", change(np.load("vectors.npy")))
    error = refused(capsys, "decode", "vectors.npy", "--output", "said.txt")
    assert re.search(said, error) and "said.txt" not in names(encoded)


def test_vectors_without_their_description_are_refused(encoded, capsys):
    (encoded / "vectors.npy").write_bytes((encoded / "vectors.npy").read_bytes()[:200])
    assert "no whole npy file" in refused(capsys, "decode", "vectors.npy")
    made = paths.read_json("vectors.json")
    paths.write_json("vectors.json", {**made, "encoder_hash": "000000000000"})
    assert "000000000000" in refused(capsys, "decode", "vectors.npy")
    paths.write_json("vectors.json", {"n": 64})
    assert "no description" in refused(capsys, "decode", "vectors.npy")
    (encoded / "vectors.json").unlink()
    assert "vectors.json, which says what made the vectors" in refused(capsys, "decode", "vectors.npy")


@pytest.mark.parametrize("beams", ["0", "-1", "many"])
def test_a_number_of_beams_that_is_none_is_refused(encoded, capsys, beams):
    assert "--num-beams" in refused(capsys, "decode", "vectors.npy", "--num-beams", beams)


# Half-way


@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_half_way_leaves_the_old_file_whole(encoded, folder, monkeypatch, command, stop, status):
    (encoded / "said.txt").write_text("old\n")
    before = {name: (encoded / name).read_bytes() for name in names(encoded)}
    monkeypatch.setattr(cli, "CHUNK", 10)
    true, calls = getattr(InvertibleSentenceModel, command), []

    def stopped(self, given, **kwargs):
        calls.append(len(given))
        if len(calls) == 4:
            assert any(name.endswith(".part") for name in names(encoded))
            signal.raise_signal(stop)
        return true(self, given, **kwargs)

    monkeypatch.setattr(InvertibleSentenceModel, command, stopped)
    arguments = {
        "encode": ("texts.txt", "--model", folder, "--output", "vectors.npy"),
        "decode": ("vectors.npy", "--output", "said.txt"),
    }[command]
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    try:
        with pytest.raises(SystemExit) as end:
            invlib(command, *arguments)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert end.value.code == status
    assert {name: (encoded / name).read_bytes() for name in names(encoded)} == before


def test_a_file_that_changes_while_it_is_read_is_an_error(encoded, folder, monkeypatch, capsys):
    monkeypatch.setattr(cli, "check_lines", lambda file, model: (64, "000000000000"))
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "new.npy")
    assert "changed while it was read" in error and "new.npy" not in names(encoded)


def test_the_command_is_installed_as_invlib():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"invlib": "invlib.cli:main"}
