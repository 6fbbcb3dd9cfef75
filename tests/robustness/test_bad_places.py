"""A full disk, damaged files, two at once: a clear error or a clean rebuild."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from invlib import paths
from invlib.encoders.frozen import load_encoder
from invlib.encoders.token_states import token_states
from invlib.models.model import InvertibleSentenceModel
from invlib.series.preflight import check_writable
from invlib.training import callbacks
from invlib.training.train import train

pytestmark = pytest.mark.slow
NOBODY = 65534  # the user who owns nothing
FILES = ("states.npy", "input_ids.npy", "offsets.npy", "sentence.npy", "n_cut.npy")


def arrays(states) -> dict[str, np.ndarray]:
    return {name: np.load(states.folder / name) for name in FILES}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


# Damaged files


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 0.7, None])  # of the file that is left; None: the file is gone
def test_a_damaged_cache_is_made_anew(tiny_encoder, sentences, tmp_path, name, size):
    def made():
        return token_states(tiny_encoder, sentences[:8], 16, tmp_path, progress=False)

    whole = arrays(made())
    file = made().folder / name
    content = file.read_bytes()
    file.unlink() if size is None else file.write_bytes(content[: int(size * len(content))])
    with pytest.warns(UserWarning, match=f"{file.parent.name} are damaged and made anew"):
        assert same(arrays(made()), whole)
    assert same(arrays(made()), whole)
    assert [path.name for path in tmp_path.iterdir()] == [file.parent.name]


def test_two_caches_of_two_encoders_stand_side_by_side(tiny_folder, tiny_encoder, sentences, tmp_path):
    """With other weights: what is in the cache is never another encoder's."""
    tiny_copy = Path(shutil.copytree(tiny_folder, tmp_path / "encoder"))
    first = token_states(tiny_encoder, sentences[:4], 16, tmp_path / "cache", progress=False)
    weights = load_file(tiny_copy / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"] += 1
    save_file(weights, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    other = token_states(load_encoder(str(tiny_copy)), sentences[:4], 16, tmp_path / "cache", progress=False)
    assert other.folder != first.folder and not np.array_equal(other.sentence, first.sentence)


class Killed(BaseException):
    pass


@pytest.fixture
def begun(run, tiny_settings, tiny_material, monkeypatch) -> tuple:
    """A training that was killed in its third epoch: (its settings, how to go on with it, its newest checkpoint)."""
    settings = replace(tiny_settings, epochs=3, batch_size=20)
    step_end = callbacks.Clock.on_step_end

    def killed(self, args, state, control, **more):
        if state.global_step == 5:
            raise Killed
        return step_end(self, args, state, control, **more)

    monkeypatch.setattr(callbacks.Clock, "on_step_end", killed)
    with pytest.raises(Killed):
        train(settings, run, tiny_material)
    monkeypatch.setattr(callbacks.Clock, "on_step_end", step_end)
    work = run / "models" / "att_pool_32" / "checkpoints"
    return settings, lambda: train(settings, run, tiny_material)[0], work / "checkpoint-4"


@pytest.mark.parametrize("name", ["scheduler.pt", "rng_state.pth", "optimizer.pt", "model.safetensors"])
def test_a_checkpoint_that_lacks_the_end_of_a_file_is_left_out(begun, run, tiny_material, name):
    settings, go_on, checkpoint = begun
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="checkpoint-4 is damaged"):
        again = go_on().state_dict()
    whole = train(settings, run / "whole", tiny_material)[0].state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_another_versions_checkpoint_is_an_error_that_names_it(begun):
    _, go_on, checkpoint = begun
    identity = checkpoint.parent / "identity.json"
    paths.write_json(identity, paths.read_json(identity) | {"version": 99})
    with pytest.raises(ValueError, match="identity.json.*version is 99.*update invlib"):
        go_on()
    assert checkpoint.is_dir()  # a newer version may go on with it


def test_a_checkpoint_of_other_weights_is_not_taken_up(begun, run, tiny_material):
    """Whose names or shapes are not the model's: transformers would load what fits and leave the rest as it was."""
    settings, go_on, checkpoint = begun
    weights = load_file(checkpoint / "model.safetensors")
    renamed = {name.replace("pooling", "older"): weight for name, weight in weights.items()}
    save_file(renamed, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="checkpoint-4 is of another version of the model"):
        again = go_on().state_dict()
    whole = train(settings, run / "whole", tiny_material)[0].state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)


# Two at once


def test_runs_at_once_share_a_cache(tiny_encoder, sentences, tmp_path, in_child):
    """Four processes that begin together: each gets the whole cache, one is kept, and nothing else is left."""
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(4)

    def work(k: int) -> None:
        torch.set_num_threads(1)
        together.wait(60)
        states = token_states(tiny_encoder, sentences, 16, tmp_path / "cache", batch_size=4, progress=False)
        assert np.isfinite(states.states).all() and len(states) == len(sentences)

    jobs = [fork.Process(target=work, args=(k,)) for k in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0] * 4
    (folder,) = (tmp_path / "cache").iterdir()
    found = token_states(tiny_encoder, sentences, 16, tmp_path / "cache", batch_size=4, progress=False)
    alone = token_states(tiny_encoder, sentences, 16, tmp_path / "alone", batch_size=4, progress=False)
    assert found.folder == folder and same(arrays(found), arrays(alone))


# A checkout that can only be read


@pytest.mark.skipif(os.getuid() != 0, reason="another user can be tried by root alone")
def test_a_read_only_checkout_reads_and_says_what_it_cant_write(
    tiny_model, tiny_settings, tiny_material, tiny_encoder, tmp_path, in_child
):
    """As a user who may only read: models are loaded, encode and decode; what would be written names the place."""
    place = tmp_path / "checkout"
    model = tiny_model()
    model.save_pretrained(place / "model")
    expected = model.reconstruct(["oil falls", "gold"])
    (place / "runs").mkdir()
    for folder in (place, *place.parents):
        os.chmod(folder, os.stat(folder).st_mode | 0o055)

    def work():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        loaded = InvertibleSentenceModel.from_pretrained(place / "model")
        loaded.use_encoder(tiny_encoder)
        assert loaded.reconstruct(["oil falls", "gold"]) == expected
        for writes in (
            lambda: token_states(tiny_encoder, ["oil"], 16, place / "runs" / "cache", progress=False),
            lambda: train(tiny_settings, place / "runs" / "mine", tiny_material),
            lambda: loaded.save_pretrained(place / "copy"),
        ):
            with pytest.raises(OSError, match="Permission denied.*checkout|checkout.*Permission denied"):
                writes()
        check = check_writable(place / "runs" / "mine")
        assert not check.ok and "can't be written" in check.found and "copy the repository" in check.remedy

    assert in_child(work)[0] == 0
    assert sorted(path.name for path in place.rglob("*")) == ["config.json", "model", "model.safetensors", "runs"]


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(kilobytes) -> a folder on a disk of that size."""
    mounted = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk-{kilobytes}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small disk can be made here: {error}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_cache_on_a_full_disk_is_an_error(tiny_encoder, sentences, small_disk, in_child):
    """In a process of its own: what is written through memory that is mapped would end it with a bus error."""

    disks = small_disk(16), small_disk(64)

    def work():
        for disk in disks:
            with pytest.raises(OSError, match="can't be written.*make room"):
                token_states(tiny_encoder, sentences * 20, 16, disk / "cache", progress=False)
            assert not list(disk.rglob("*.npy"))

    assert in_child(work)[0] == 0


@pytest.mark.parametrize("kilobytes", [64, 600])  # for the first checkpoint's weights; for some of the next files
def test_a_training_on_a_full_disk_is_an_error_and_goes_on(
    small_disk, tiny_settings, tiny_material, kilobytes, tmp_path
):
    disk = small_disk(kilobytes)
    settings = replace(tiny_settings, batch_size=20)
    with pytest.raises(OSError, match="is full; make room there and start again|No space left"):
        train(settings, disk / "run", tiny_material)
    assert not list(disk.rglob("training.json"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    again = train(settings, disk / "run", tiny_material)[0].state_dict()
    whole = train(settings, tmp_path / "whole", tiny_material)[0].state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)


# Code in weights


def test_an_older_models_weights_run_no_code(tiny_folder, tmp_path):
    """pytorch_model.bin is a pickle: what it would call is refused, not called."""
    mark, copy = tmp_path / "called", Path(shutil.copytree(tiny_folder, tmp_path / "encoder"))

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(mark),))

    (copy / "model.safetensors").unlink()
    with zipfile.ZipFile(copy / "pytorch_model.bin", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Bomb(), 2))
        file.writestr("archive/version", "3\n")
    with pytest.raises(Exception, match="(?i)weights.only|unpickl|damaged"):
        load_encoder(str(copy))
    assert not mark.exists()
