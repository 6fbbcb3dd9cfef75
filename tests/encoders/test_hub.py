"""Where a model's files come from, and what is told of one that can't be had or read."""

import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from invlib import paths
from invlib.data.network import hub_answers
from invlib.encoders import hub as hub_module
from invlib.encoders.frozen import load_encoder
from invlib.encoders.hub import check_weights, hub_folder, locate_model


def test_an_unknown_encoder_without_network_is_an_error_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_answers()
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match="nobody/no-such-encoder.*minilm"):
        load_encoder("nobody/no-such-encoder")
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_encoder(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_encoder(str(tmp_path / "missing"))
    assert time.monotonic() - started < 30  # a library's own retries take minutes


@pytest.mark.parametrize(
    "kind, words",
    [
        ("RepositoryNotFoundError", "'owner/minlm': not a folder, and no model of the hub that you may read.*spelling"),
        ("GatedRepoError", "'owner/minlm'.*ask for access on its page.*hf auth login"),
        ("HfHubHTTPError", "'owner/minlm' could not be downloaded .HfHubHTTPError: 404.*; try again"),
    ],
)
@pytest.mark.parametrize("refused", ["model_info", "snapshot_download"])
def test_a_refusal_of_the_hub_is_explained(monkeypatch, kind, words, refused):
    """A model's page may be open while its files are gated: either call may refuse."""
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(name, local_files_only=False, **_):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not in the cache")
        raise getattr(errors, kind)("404 Client Error", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    info = (lambda *a, **k: refuse("owner/minlm")) if refused == "model_info" else (lambda *a, **k: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(hub_module, "hub_answers", lambda: True)
    with pytest.raises(OSError, match=words + ".*minilm"):
        load_encoder("owner/minlm")


def hub_cache(folder, files: list[str]) -> None:
    """A cache of the hub as huggingface_hub lays it out: `files` of owner/small are here, and it knows of others."""
    from huggingface_hub._tree_cache import TREE_CACHE_FORMAT_VERSION

    home = folder / "models--owner--small"
    commit = "0" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    for name in files:
        (home / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (home / "snapshots" / commit / name).write_text("{}")
        if name.endswith(".safetensors"):
            save_file({"weight": torch.zeros(2)}, home / "snapshots" / commit / name)
    listed = {name: {"size": 2, "blob_id": "0"} for name in (*files, "README.md", "tf_model.h5", "model.onnx")}
    if "model.safetensors" not in files:
        listed["model.safetensors"] = {"size": 2, "blob_id": "0"}
    paths.write_json(home / "trees" / f"{commit}.json", {"format_version": TREE_CACHE_FORMAT_VERSION, "files": listed})


@pytest.mark.parametrize(
    "files, found",
    [
        (["config.json", "tokenizer.json", "model.safetensors"], True),
        (["config.json", "pytorch_model.bin"], True),
        (["config.json", "tokenizer.json"], False),
    ],
)
def test_a_model_in_the_cache_needs_its_weights_and_no_more(tmp_path, monkeypatch, files, found):
    """What this workbook downloads is a part of the repository: that part has to do without a network."""
    import huggingface_hub as hub

    hub_cache(tmp_path, files)
    real = hub.snapshot_download
    with pytest.raises(FileNotFoundError):  # as a whole it is not there
        real("owner/small", cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **how: real(name, cache_dir=tmp_path, **how))
    monkeypatch.setattr(hub_module, "hub_answers", lambda: False)
    if found:
        assert locate_model("owner/small") == "cached"
        assert hub_folder("owner/small").endswith("0" * 40)
    else:
        with pytest.raises(FileNotFoundError, match="not in the local cache"):
            hub_folder("owner/small")


@pytest.mark.parametrize("name", ["a/b/c", "my model", "owner/model!"])
def test_a_name_that_no_hub_model_can_have(monkeypatch, name):
    monkeypatch.setattr(hub_module, "hub_answers", lambda: True)
    with pytest.raises(FileNotFoundError, match=f"{name}.*no model of the hub.*spelling.*minilm"):
        load_encoder(name)


def test_a_hub_that_refuses_or_never_answers_is_left_within_seconds(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for place in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", place)
        started = time.monotonic()
        assert not hub_answers(seconds=1)
        assert time.monotonic() - started < 30  # a library's own retries take minutes


def test_where_a_model_comes_from(tiny_folder, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: None)
    monkeypatch.setattr(hub_module, "hub_answers", lambda: True)
    assert [locate_model(name) for name in ("minilm", tiny_folder, "owner/none-such")] == [
        "embedded", "folder", "download",
    ]  # fmt: skip


def test_the_home_folder_may_stand_in_a_name(tiny_copy, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_copy.parent))
    assert locate_model(f"~/{tiny_copy.name}") == "folder"
    assert load_encoder(f"~/{tiny_copy.name}").hidden_size == 32


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda content: b"", "is empty"),
        (lambda content: content[: len(content) // 2], "is cut or damaged"),
        (lambda content: POINTER, "is a git-lfs pointer.*git lfs pull"),
    ],
)
def test_a_file_that_cant_be_read_is_named(tiny_copy, file, damage, words):
    check_weights(tiny_copy)
    path = tiny_copy / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=f"{file} {words}"):
        load_encoder(str(tiny_copy))


def test_an_older_models_cut_weights_are_named(tiny_copy):
    (tiny_copy / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        load_encoder(str(tiny_copy))
    path = tiny_copy / "pytorch_model.bin"
    torch.save({"weight": torch.zeros(1000)}, path)
    check_weights(tiny_copy)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OSError, match="pytorch_model.bin is cut"):
        load_encoder(str(tiny_copy))


def test_a_missing_part_of_the_weights_is_named(tiny_copy):
    index = {
        "metadata": {},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    paths.write_json(tiny_copy / "model.safetensors.index.json", index)
    (tiny_copy / "model.safetensors").rename(tiny_copy / "model-00002-of-00002.safetensors")
    with pytest.raises(OSError, match="model-00001-of-00002.safetensors"):
        load_encoder(str(tiny_copy))


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"intermediate_size": 48}, "config.json is not that of the weights"),
        ({"num_hidden_layers": 3}, "weights lack 'encoder.layer.2"),
        ({"vocab_size": 30}, "config.json is not that of the weights|embeddings for 30"),
    ],
)
def test_another_shapes_config_is_named(tiny_copy, changed, words):
    """A layer that the weights lack would be made of random numbers."""
    config = paths.read_json(tiny_copy / "config.json")
    paths.write_json(tiny_copy / "config.json", config | changed)
    with pytest.raises((OSError, ValueError), match=words):
        load_encoder(str(tiny_copy))
