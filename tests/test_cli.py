"""The command line: files of texts to vectors and back, in chunks, with nothing left half-written."""

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from transformers import BertModel

from invlib import cli, paths
from invlib.cli import encode, files
from invlib.cli import invert as cli_invert
from invlib.inversion import invert
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
    decoded = model.decode(z.astype(np.float32))
    capsys.readouterr()
    invlib("decode", "vectors.npy")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == decoded and shown.err == ""  # no bar where nobody sees it move
    invlib("decode", "vectors.npy", "--model", folder, "--num-beams", 3, "--output", "decoded.txt")
    assert (encoded / "decoded.txt").read_text().splitlines() == model.decode(z.astype(np.float32), num_beams=3)
    assert names(encoded) == ["decoded.txt", "texts.txt", "vectors.json", "vectors.npy"]


class Terminal(io.TextIOWrapper):
    """A terminal that keeps what it is sent."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_makes_way_for_the_texts(encoded, folder, sentences, monkeypatch):
    decoded = InvertibleSentenceModel.from_pretrained(folder).decode(np.load("vectors.npy").astype(np.float32))
    screen = Terminal(sent := io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    invlib("decode", "vectors.npy")
    shown = re.split(r"[\r\n]", sent.getvalue().decode())
    first = shown.index(decoded[0])  # on a line of its own
    assert shown[first : first + 64] == decoded and any(line.startswith("decoding: ") for line in shown[:first])


def test_a_model_without_a_folder_makes_no_files(work, tiny_model):
    with pytest.raises(ValueError, match="no folder.*save it first"):
        encode.encode_file("texts.txt", tiny_model(), work / "vectors.npy")


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
    assert list(encode.read_texts("texts.txt")) == [("texts.txt:1", "gold rises"), ("texts.txt:2", "oil falls")]
    invlib("encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert np.load("vectors.npy").shape == (2, 32)


# Memory


def test_no_more_than_a_chunk_is_in_memory(work, folder, sentences, monkeypatch):
    """The file is read as a stream: what the model gets at once is a chunk, and the chunks make the whole."""
    monkeypatch.setattr(files, "CHUNK", 10)
    sizes, model = [], InvertibleSentenceModel
    (work / "texts.txt").write_text("\n".join(sentences))
    true = {name: getattr(model, name) for name in ("encode_ids", "decode")}

    def counted(name):
        def call(self, given, *args, **kwargs):
            sizes.append(len(given))
            return true[name](self, given, *args, **kwargs)

        return call

    for name in true:
        monkeypatch.setattr(model, name, counted(name))
    invlib("encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert sizes == [10] * 6 + [4]
    invlib("decode", "vectors.npy", "--output", "decoded.txt")
    assert sizes[7:] == [10] * 6 + [4]
    monkeypatch.undo()
    whole = InvertibleSentenceModel.from_pretrained(folder)
    np.testing.assert_allclose(np.load(work / "vectors.npy"), whole.encode(sentences), atol=0.05)
    assert len((work / "decoded.txt").read_text().splitlines()) == 64
    lines = encode.read_texts(str(work / "texts.txt"))
    assert next(lines)[1] == sentences[0] and not isinstance(lines, list)


# What can't be encoded


@pytest.mark.parametrize("line, words", [
    (b"", "texts.txt:17: sentence is empty"), (b"  \t", "texts.txt:17: sentence is empty"),
    (b"oil " * 15, "texts.txt:17: sentence has 17 word pieces.*at most 16"),
    (b"gold \xff", "texts.txt:17: not UTF-8"), (b"\xe2\x80\x8b", "texts.txt:17: sentence has no word piece"),
])  # fmt: skip
def test_a_line_that_cant_be_encoded_is_named_and_leaves_nothing(work, folder, sentences, capsys, line, words):
    raw = [s.encode() for s in sentences]
    raw[16] = line
    (work / "texts.txt").write_bytes(b"\n".join(raw))
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert error.startswith("invlib: ")
    assert re.search(words, error)
    assert names(work) == ["texts.txt"]


def test_somebody_elses_json_is_not_written_over(work, folder, capsys):
    (work / "texts.txt").write_text("gold rises\n")
    (work / "vectors.json").write_text('{"mine": 1}')
    words = refused(capsys, "encode", "texts.txt", "--model", str(folder), "--output", "vectors.npy")
    assert "vectors.json" in words and "give another name" in words
    assert (work / "vectors.json").read_text() == '{"mine": 1}' and not (work / "vectors.npy").exists()


def test_a_model_of_another_kind_is_refused(work, tmp_path, capsys):
    (work / "texts.txt").write_text("gold rises\n")
    paths.write_json(tmp_path / "other" / "config.json", {"model_type": "gpt_neox"})
    save_file({"a": np.zeros(1)}, tmp_path / "other" / "model.safetensors")
    words = refused(capsys, "encode", "texts.txt", "--model", tmp_path / "other", "--output", "vectors.npy")
    assert "'gpt_neox', not 'invertible_sentence'" in words


def test_what_is_not_there_is_named(work, folder, capsys):
    encode = ("--model", folder, "--output", "vectors.npy")
    for name, what in (("texts.txt", "is not there"), (folder, "is a folder")):
        error = refused(capsys, "encode", name, *encode)
        assert f"invlib: {name} {what}, seen from {work}; give a file with a sentence a line" in error
    (work / "texts.txt").write_text("")
    assert "texts.txt: no sentence in it" in refused(capsys, "encode", "texts.txt", *encode)
    (work / "texts.txt").write_text("gold rises\n")
    assert "no folder 'out'" in refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "out/v.npy")
    assert "ends in .npy" in refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "v.bin")
    assert "no model 'none'" in refused(capsys, "encode", "texts.txt", "--model", "none", "--output", "vectors.npy")
    assert "no plain file 'vectors.npy'" in refused(capsys, "decode", "vectors.npy")
    assert names(work) == ["texts.txt"]


@pytest.mark.parametrize("number", [1e6, np.nan])
def test_what_half_precision_cant_hold_is_an_error(work, folder, sentences, capsys, monkeypatch, number):
    monkeypatch.setattr(files, "CHUNK", 10)
    true = InvertibleSentenceModel.encode_ids

    def beyond(self, ids, **_):
        z, (bad,) = true(self, ids), self.encoder.input_ids([sentences[16]])
        z[[row == bad for row in ids], 3] = number
        return z

    monkeypatch.setattr(InvertibleSentenceModel, "encode_ids", beyond)
    (work / "texts.txt").write_text("\n".join(sentences))
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert "texts.txt:17: its vector" in error and names(work) == ["texts.txt"]


# What is read


@pytest.mark.parametrize("name", ["-", "fifo"])
def test_what_can_be_read_once_alone_is_encoded_too(work, folder, sentences, monkeypatch, name):
    """Standard input and a pipe, as `encode <(...)` gives one: checked and encoded as a file is."""
    raw = "\n".join(sentences[:5]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    os.mkfifo("fifo")
    writer = threading.Thread(target=lambda: Path("fifo").write_bytes(raw), daemon=True)
    writer.start()
    invlib("encode", name, "--model", folder, "--output", "vectors.npy")
    expected = InvertibleSentenceModel.from_pretrained(folder).encode(sentences[:5]).astype(np.float16)
    np.testing.assert_array_equal(np.load("vectors.npy"), expected)


def test_an_error_in_standard_input_is_named(work, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"gold rises\n\noil falls\n")))
    error = refused(capsys, "encode", "-", "--model", folder, "--output", "vectors.npy")
    assert "standard input:2: sentence is empty" in error and names(work) == []


def test_a_column_of_a_table_is_encoded_as_it_stands(work, folder, sentences, capsys):
    """No row is dropped or cleaned: a copy stays, and an empty one is an error that names it."""
    texts = [*sentences[:4], sentences[0]]
    pd.DataFrame({"n": range(5), "title": texts}).to_csv("texts.csv", index=False)
    invlib("encode", "texts.csv", "--column", "title", "--model", folder, "--output", "vectors.npy")
    expected = InvertibleSentenceModel.from_pretrained(folder).encode(texts).astype(np.float16)
    np.testing.assert_array_equal(np.load("vectors.npy"), expected)
    pd.DataFrame({"Headlines": ["gold rises", "oil " * 15]}).to_csv("long.csv", index=False)
    error = refused(capsys, "encode", "long.csv", "--model", folder, "--output", "long.npy")
    assert "long.csv, row 2: sentence has 17 word pieces" in error
    (work / "texts.txt").write_text("gold rises\n")
    error = refused(capsys, "encode", "texts.txt", "--column", "a", "--model", folder, "--output", "v.npy")
    assert "texts.txt is read as lines" in error
    error = refused(capsys, "encode", "none.csv", "--column", "a", "--model", folder, "--output", "v.npy")
    assert "none.csv is not there, seen from" in error
    error = refused(capsys, "encode", "texts.csv", "--model", folder, "--output", "v.npy")
    assert "texts.csv: no column 'Headlines'; its columns are 'n', 'title'; name the column" in error
    assert "--column NAME" in error


# What is written


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_nothing_but_a_plain_file_is_written_over(encoded, folder, sentences, capsys, command):
    """A device, a pipe, a link, a folder, what is read, a file of the model: refused, and left as it was."""
    os.mkfifo("pipe.npy")
    (encoded / "folder.npy").mkdir()
    for link, target in (("link.npy", "vectors.npy"), ("broken.npy", "nowhere"), ("null.npy", os.devnull)):
        os.symlink(target, link)
    os.link("texts.txt", "same.npy")
    before = {path: path.lstat() for path in [*encoded.iterdir(), *folder.iterdir()]}
    arguments = ("encode", "texts.txt", "--model", folder) if command == "encode" else ("decode", "vectors.npy")
    cases = {"pipe.npy": "a device or a pipe", "folder.npy": "a folder", "link.npy": "a link", "broken.npy": "a link",
             "null.npy": "a link"}  # fmt: skip
    if command == "decode":
        cases |= {os.devnull: "a device", "vectors.npy": "one of the files that are read"}
        cases |= {"vectors.json": "one of the files that are read", folder / "config.json": "one of the files"}
    else:
        cases |= {"same.npy": "one of the files that are read"}
    for output, words in cases.items():
        error = refused(capsys, *arguments, "--output", output)
        assert f"--output {output} is {words}" in error and "give" in error
    after = {path: path.lstat() for path in [*encoded.iterdir(), *folder.iterdir()]}
    assert {p: (s.st_mode, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_mode, s.st_mtime_ns) for p, s in before.items()
    }


def test_the_json_beside_the_vectors_is_no_link_either(work, folder, capsys):
    (work / "texts.txt").write_text("gold rises\n")
    os.symlink("mine", "vectors.json")
    error = refused(capsys, "encode", "texts.txt", "--model", folder, "--output", "vectors.npy")
    assert "vectors.json is a link" in error and names(work) == ["texts.txt", "vectors.json"]


def test_the_home_folder_may_be_written_as_a_tilde(encoded, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(encoded))
    invlib("encode", "~/texts.txt", f"--model={folder}", "--output=~/two.npy")
    invlib("decode", "~/two.npy", "--output=~/two.txt")
    assert {"two.npy", "two.json", "two.txt"} <= set(names(encoded))


@pytest.mark.parametrize("more", [("--output", "decoded.csv"), ("--scores",)])
def test_scores_are_written_as_csv(encoded, folder, capsys, more):
    model, z = InvertibleSentenceModel.from_pretrained(folder), np.load("vectors.npy").astype(np.float32)
    capsys.readouterr()
    invlib("decode", "vectors.npy", *more)
    shown = capsys.readouterr().out
    frame = pd.read_csv("decoded.csv" if len(more) == 2 else io.StringIO(shown), keep_default_na=False)
    assert list(frame) == ["text", "log_probability", "pieces", "probabilities"]
    expected = model.decode(z, return_scores=True)
    assert frame["text"].tolist() == [d.text for d in expected]
    np.testing.assert_allclose(frame["log_probability"], [d.log_probability for d in expected], atol=1e-3)
    assert [len(p.split()) for p in frame["probabilities"]] == [len(d.pieces) for d in expected]


# What can't be decoded


@pytest.mark.parametrize("vectors", ["-", "/dev/null", "folder.npy"])
def test_vectors_that_are_no_file_are_refused_with_the_reason(work, capsys, vectors):
    (work / "folder.npy").mkdir()
    assert f"no plain file '{vectors}'; give an .npy file" in refused(capsys, "decode", vectors)


def test_vectors_of_another_model_are_refused(encoded, tiny_model, tmp_path, capsys):
    tiny_model(embedding_dim=64).save_pretrained(tmp_path / "other")
    error = refused(capsys, "decode", "vectors.npy", "--model", tmp_path / "other")
    assert "made by model 'model'" in error and model_hash(tmp_path / "other") in error


@pytest.mark.parametrize("change, words", [
    (lambda z: z[:, :31], r"\(64, 31\)"), (lambda z: z[:63], r"\(63, 32\)"), (lambda z: z.astype(float), "float64"),
    (lambda z: np.where(np.arange(64)[:, None] == 5, np.float16(np.nan), z), "vector 6 holds NaN"),
    (lambda z: np.where(np.arange(64)[:, None] == 5, np.float16(np.inf), z), "vector 6 holds NaN or infinity"),
])  # fmt: skip
def test_vectors_that_are_not_what_was_written_are_refused(encoded, capsys, change, words):
    np.save("vectors.npy", change(np.load("vectors.npy")))
    error = refused(capsys, "decode", "vectors.npy", "--output", "decoded.txt")
    assert re.search(words, error) and "decoded.txt" not in names(encoded)


def test_half_a_file_of_vectors_is_refused(encoded, capsys):
    (encoded / "vectors.npy").write_bytes((encoded / "vectors.npy").read_bytes()[:200])
    assert "no whole .npy file" in refused(capsys, "decode", "vectors.npy")


def test_a_description_that_is_none_is_refused(encoded, capsys):
    made = paths.read_json("vectors.json")
    paths.write_json("vectors.json", {**made, "encoder_hash": "000000000000"})
    assert "000000000000" in refused(capsys, "decode", "vectors.npy")
    paths.write_json("vectors.json", {"n": 64})
    assert "no description" in refused(capsys, "decode", "vectors.npy")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_plain_vectors_are_decoded_by_the_model_that_is_named(encoded, folder, capsys, dtype):
    """As numpy saves them: without a JSON that says what made them."""
    invlib("decode", "vectors.npy")
    expected = capsys.readouterr().out
    np.save("plain.npy", np.load("vectors.npy").astype(dtype))
    invlib("decode", "plain.npy", "--model", folder)
    assert capsys.readouterr().out == expected
    error = refused(capsys, "decode", "plain.npy")
    assert "plain.npy has no plain.json beside it" in error
    assert "--model FOLDER, or make both files: invlib encode" in error


@pytest.mark.parametrize("change, words", [
    (lambda z: z[:, :31], r"\(64, 31\) float16, where the model decodes \(N, 32\) real numbers"),
    (lambda z: z[0], r"\(32,\) float16, where"), (lambda z: z.astype(complex), "complex128, where"),
    (lambda z: np.where(np.arange(64)[:, None] == 5, np.float16(np.nan), z), "vector 6 holds NaN"),
])  # fmt: skip
def test_plain_vectors_that_the_model_cant_have_made_are_refused(encoded, folder, capsys, change, words):
    np.save("plain.npy", change(np.load("vectors.npy")))
    error = refused(capsys, "decode", "plain.npy", "--model", folder)
    assert error.startswith("invlib: plain.npy: ") and re.search(words, error)


def test_a_file_of_another_kind_is_said_to_be_no_npy(encoded, folder, capsys):
    for more in ((), ("--model", folder)):
        assert "texts.txt is no .npy file; give" in refused(capsys, "decode", "texts.txt", *more)


@pytest.mark.parametrize("beams", ["0", "-1", "many"])
def test_a_number_of_beams_that_is_none_is_refused(encoded, capsys, beams):
    assert "--num-beams" in refused(capsys, "decode", "vectors.npy", "--num-beams", beams)


# Half-way


@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_half_way_leaves_the_old_file_whole(encoded, folder, monkeypatch, command, stop, status):
    (encoded / "decoded.txt").write_text("old\n")
    before = {name: (encoded / name).read_bytes() for name in names(encoded)}
    monkeypatch.setattr(files, "CHUNK", 10)
    called = {"encode": "encode_ids", "decode": "decode"}[command]
    true, calls = getattr(InvertibleSentenceModel, called), []

    def stopped(self, given, **kwargs):
        calls.append(len(given))
        if len(calls) == 4:
            assert any(name.endswith(".part") for name in names(encoded))
            signal.raise_signal(stop)
        return true(self, given, **kwargs)

    monkeypatch.setattr(InvertibleSentenceModel, called, stopped)
    arguments = {
        "encode": ("texts.txt", "--model", folder, "--output", "vectors.npy"),
        "decode": ("vectors.npy", "--output", "decoded.txt"),
    }[command]
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    try:
        with pytest.raises(SystemExit) as end:
            invlib(command, *arguments)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert end.value.code == status
    assert {name: (encoded / name).read_bytes() for name in names(encoded)} == before


def test_the_command_is_installed_as_invlib():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"invlib": "invlib.cli:main"}


def test_help_needs_no_torch():
    code = "import sys, invlib.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT).returncode == 0


def test_two_runs_are_compared(work, capsys):
    """By name or by folder; what is no run is an error in words."""
    study = paths.RESULTS / "study"
    invlib("compare", study, study)
    shown = capsys.readouterr().out.splitlines()
    assert "differs 0, not comparable 0" in shown[-1] and sum("reproduced" in line for line in shown) > 50
    assert "no metrics.json in" in refused(capsys, "compare", study, work)


# Embeddings that anybody has made


@pytest.fixture
def inverter(tiny_model, tmp_path):
    """A saved mean_decoder of random weights: what it doesn't know, search finds."""
    tiny_model("mean_decoder", expanded_size=64).save_pretrained(tmp_path / "inverter")
    return tmp_path / "inverter"


@pytest.fixture
def embeddings(work, tiny_encoder, sentences):
    """embeddings.npy: what the plain encoder makes of 12 sentences, of length 1."""
    z = tiny_encoder.sentence_embedding(sentences[:12]).numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    np.save(work / "embeddings.npy", z)
    return z


def test_embeddings_become_texts_row_by_row(embeddings, inverter, work, capsys, monkeypatch):
    monkeypatch.setattr(cli_invert, "FIRST", 5)
    monkeypatch.setattr(cli_invert, "NEAR", 0.1)
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 1, "--output", "texts.csv")
    shown = capsys.readouterr()
    assert shown.out == "" and "invlib: 12 texts, mean cosine" in shown.err and "surely exact" in shown.err
    assert "normalised" not in shown.err and "embeddings of" not in shown.err
    frame = pd.read_csv("texts.csv", keep_default_na=False)
    assert list(frame) == ["text", "cosine", "surely_exact"] and len(frame) == 12
    model, found = InvertibleSentenceModel.from_pretrained(inverter), []
    for start in (0, 5, 10):
        found += invert.invert(model, embeddings[start : start + 5], invert.Chain(rounds=1))
    assert frame["text"].tolist() == model.text([one.best for one in found]) and frame["text"].nunique() > 5
    np.testing.assert_allclose(frame["cosine"], [one.cosine for one in found], atol=1e-4)
    assert frame["surely_exact"].tolist() == [one.cosine >= invert.SURE for one in found]
    invlib("invert", "embeddings.npy", f"--model={inverter}", "--rounds=1")
    assert capsys.readouterr().out == (work / "texts.csv").read_text()
    assert names(work) == ["embeddings.npy", "texts.csv"]


def test_a_text_is_surely_exact_by_its_cosine():
    shown = cli_invert.inverted_csv(['gold, "rises"', "oil"], [0.99961, 0.5], 0.9995, header=True)
    assert shown == 'text,cosine,surely_exact\n"gold, ""rises""",0.9996,True\noil,0.5000,False\n'
    assert cli_invert.inverted_csv(["oil"], [0.5], 0.9995, header=False) == "oil,0.5000,False\n"


def test_more_rounds_find_nearer_texts(embeddings, inverter, capsys):
    means = []
    for rounds in (0, 2):
        invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", rounds)
        means.append(pd.read_csv(io.StringIO(capsys.readouterr().out))["cosine"].mean())
    assert means[1] > means[0] + 0.05


@pytest.mark.parametrize("made, words", [
    (lambda z: z[:, :31], r"\(12, 31\) float32, where encoder .* makes \(N, 32\).*--model.*invlib.inversion --encoder"),
    (lambda z: z[0], r"\(32,\) float32, where"), (lambda z: z[None], r"\(1, 12, 32\)"),
    (lambda z: z.astype(complex), "complex128, where"), (lambda z: z.astype(str), "<U.*, where"),
    (lambda z: np.where(np.arange(12)[:, None] == 7, 0, z), "vector 8 is zero, or"),
    (lambda z: np.where(np.arange(12)[:, None] == 7, np.nan, z), "vector 8 .*NaN"),
    (lambda z: np.where(np.arange(12)[:, None] == 7, -np.inf, z), "vector 8 .*infinity"),
    (lambda z: z[:0], "embeddings.npy: no vector in it"),
])  # fmt: skip
def test_what_is_no_embedding_of_the_encoder_is_refused(embeddings, inverter, work, capsys, monkeypatch, made, words):
    monkeypatch.setattr(files, "CHUNK", 5)  # all of the file is checked before the first text
    np.save("embeddings.npy", made(embeddings))
    error = refused(capsys, "invert", "embeddings.npy", "--model", inverter, "--output", "texts.csv")
    assert error.startswith("invlib: embeddings.npy: ") and re.search(words, error)
    assert names(work) == ["embeddings.npy"]


def test_what_is_no_file_of_numbers_is_refused(embeddings, inverter, work, capsys):
    (work / "half.npy").write_bytes((work / "embeddings.npy").read_bytes()[:200])
    np.save("objects.npy", np.array([None, "a"]), allow_pickle=True)
    (work / "text.npy").write_text("gold rises\n")
    for name in ("half.npy", "objects.npy"):
        assert f"{name}: no whole .npy file of numbers" in refused(capsys, "invert", name, "--model", inverter)
    np.savez("several.npz", a=np.eye(32), b=np.eye(32))
    for name in ("text.npy", "several.npz"):
        assert f"{name} is no .npy file; give one array" in refused(capsys, "invert", name, "--model", inverter)
    assert "no plain file 'none.npy'" in refused(capsys, "invert", "none.npy", "--model", inverter)
    for rounds in ("-1", "101", "many"):
        assert "--rounds" in refused(capsys, "invert", "embeddings.npy", "--model", inverter, "--rounds", rounds)


def test_vectors_of_other_widths_of_numbers_are_read(embeddings, inverter, capsys):
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 0)
    expected = capsys.readouterr().out
    np.save("embeddings.npy", embeddings.astype(np.float64))
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 0)
    assert capsys.readouterr().out == expected
    np.save("embeddings.npy", np.rint(127 * embeddings / np.abs(embeddings).max()).astype(np.int8))
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 0)
    assert len(capsys.readouterr().out.splitlines()) == 13


def test_a_model_with_vectors_of_its_own_inverts_nothing(embeddings, folder, capsys):
    error = refused(capsys, "invert", "embeddings.npy", "--model", folder)
    assert "is a att_pool, which reads vectors of its own: use invlib decode" in error
    assert "no model 'none'" in refused(capsys, "invert", "embeddings.npy", "--model", "none")


def test_vectors_of_another_encoder_than_the_models_are_refused(
    embeddings, inverter, tiny_encoder, tiny_folder, tmp_path, capsys
):
    other = shutil.copytree(tiny_folder, tmp_path / "other encoder")
    torch.manual_seed(5)
    BertModel(tiny_encoder.model.config).save_pretrained(other)
    invert_with = ("invert", "embeddings.npy", "--model", inverter, "--rounds", 0, "--encoder")
    error = refused(capsys, *invert_with, other)
    assert f"this model was trained on encoder {tiny_folder!r}" in error and str(other) in error
    invlib(*invert_with, tiny_folder)
    assert len(capsys.readouterr().out.splitlines()) == 13


def test_vectors_that_are_not_normalised_give_the_same_texts(embeddings, inverter, capsys):
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 1)
    before = capsys.readouterr()
    np.save("embeddings.npy", embeddings * 2.0 ** np.arange(-1, 11, dtype=np.float32)[:, None])
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 1)
    after = capsys.readouterr()
    assert "not normalised (lengths 0.50 to 1024.00): only their directions are read" in after.err
    assert "normalised" not in before.err and after.out == before.out


def test_strangers_vectors_are_warned_of(embeddings, inverter, tiny_folder, work, capsys, monkeypatch):
    """By the first of them, and beside the mean cosine; their texts are written all the same."""
    monkeypatch.setattr(cli_invert, "FIRST", 5)
    np.save("embeddings.npy", np.random.default_rng(0).normal(size=(12, 32)).astype(np.float32))
    invlib("invert", "embeddings.npy", "--model", inverter, "--rounds", 0, "--output", "texts.csv")
    error = capsys.readouterr().err
    assert error.count(f"these are hardly embeddings of {tiny_folder!r}") == 1
    assert "the texts found for the first 5 have a median cosine of" in error and "--encoder" in error
    assert error.splitlines()[-1].endswith(f"; are these embeddings of {tiny_folder!r}? Such texts say little")
    assert len((work / "texts.csv").read_text().splitlines()) == 13


def test_vectors_that_another_model_made_are_not_inverted(encoded, inverter, capsys):
    """The JSON of invlib encode names it; the inverter's own vectors are inverted, and another JSON says nothing."""
    error = refused(capsys, "invert", "vectors.npy", "--model", inverter)
    assert "vectors.npy: vectors.json says that model 'model' made them, where plain sentence embeddings of" in error
    assert error.endswith("are expected; decode them: invlib decode vectors.npy")
    invlib("encode", "texts.txt", "--model", inverter, "--output", "own.npy")
    invlib("invert", "own.npy", "--model", inverter, "--rounds", 0, "--output", "own.csv")
    paths.write_json("vectors.json", {"mine": 1})
    invlib("invert", "vectors.npy", "--model", inverter, "--rounds", 0, "--output", "texts.csv")
    assert {"own.csv", "texts.csv"} <= set(names(encoded))


def test_inverted_texts_replace_nothing_that_is_read_and_no_half(embeddings, inverter, work, capsys, monkeypatch):
    call = ("invert", "embeddings.npy", "--model", inverter, "--rounds", 0, "--output")
    assert "one of the files that are read" in refused(capsys, *call, "embeddings.npy")
    assert "one of the files that are read" in refused(capsys, *call, inverter / "config.json")
    assert "no folder 'out'" in refused(capsys, *call, "out/texts.csv")
    (work / "texts.csv").write_text("old\n")
    monkeypatch.setattr(cli_invert, "FIRST", 5)
    real, parts = invert.invert, []

    def stopped(model, part, chain):
        parts.append(len(part))
        if len(parts) == 3:
            assert any(name.endswith(".part") for name in names(work))
            raise KeyboardInterrupt
        return real(model, part, chain)

    monkeypatch.setattr(invert, "invert", stopped)
    with pytest.raises(SystemExit) as end:
        invlib(*call, "texts.csv")
    assert end.value.code == 130 and parts == [5, 5, 2]
    assert (work / "texts.csv").read_text() == "old\n" and names(work) == ["embeddings.npy", "texts.csv"]
