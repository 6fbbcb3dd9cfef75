"""Training: what a run leaves, and that a run which was stopped goes on as if it had not been."""

import random
import shutil
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from invlib import paths
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.material import Material
from invlib.encoders.token_states import token_states
from invlib.models.model import InvertibleSentenceModel, build_model
from invlib.models.pooling import fit_components
from invlib.training import callbacks
from invlib.training import train as train_module
from invlib.training import trainer as trainer_module
from invlib.training.record import TrainingRecord, identity_of
from invlib.training.resume import ResumableTraining, newest_whole_checkpoint
from invlib.training.train import Clock, collate, main, train
from invlib.training.trainer import InvertibleTrainer, sent_sim_loss

COLUMNS = ["epoch", "step", "minutes", "train_loss", "validation_loss", "accuracy", "bertscore_f1", "learning_rate"]


@pytest.fixture
def trainings(monkeypatch):
    """A list that grows at each training that is really begun."""
    begun, real = [], InvertibleTrainer.train

    def counted(self, *args, **more):
        begun.append(more.get("resume_from_checkpoint"))
        return real(self, *args, **more)

    monkeypatch.setattr(InvertibleTrainer, "train", counted)
    return begun


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_leaves_model_curve_and_what_was_done(run, tiny_settings, tiny_material):
    settings = replace(tiny_settings, bertscore_every_epoch=4)
    before = {k: v.clone() for k, v in tiny_material.encoder.model.state_dict().items()}
    model, curves = train(settings, run, tiny_material)
    folder = run / "models" / "att_pool_32"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "training.json"]
    assert list(curves.columns)[: len(COLUMNS)] == COLUMNS and curves.epoch.tolist() == [1, 2]
    assert curves.step.tolist() == [5, 10]
    assert curves[["validation_loss", "accuracy", "bertscore_f1", "learning_rate", "train_loss"]].notna().all(axis=None)
    assert curves.validation_loss.iloc[1] < curves.validation_loss.iloc[0]
    pd.testing.assert_frame_equal(pd.read_csv(run / "curves" / "att_pool_32.csv"), curves)
    done = TrainingRecord.read(folder)
    assert done.stopped_by == "epochs" and done.epochs == 2 and done.steps == 10 and done.train_headlines == 40
    assert done.identity.data_hash == "0123456789ab" and done.seconds > 0 and done.sent_sim_seconds > 0
    assert done.settings == settings and done.purpose == "study" and done.cut_headlines == 0
    assert done.threads == torch.get_num_threads() and done.device == "cpu"
    assert done.tokens_seen == 2 * sum(map(len, tiny_material.dataset("train").ids()))  # in two epochs, no padding
    assert done.tokens_per_second == pytest.approx(done.tokens_seen / done.seconds)
    # the frozen encoder is as it was, and the model that is returned is the one that lies there
    assert same(tiny_material.encoder.model.state_dict(), before)
    again = InvertibleSentenceModel.from_pretrained(folder)
    np.testing.assert_array_equal(model.encode(["oil falls"]), again.encode(["oil falls"]))
    assert model.folder == folder and not model.training
    assert "att_pool_32 done" in (run / "log.txt").read_text()


@pytest.mark.parametrize("row", ["att_pool", "rnn", "hybrid"])
def test_a_run_that_was_killed_ends_with_the_same_weights(run, tiny_settings, tiny_material, killed_after, row):
    """Three epochs of five steps; killed in the second and, resumed, in the third."""
    settings = replace(tiny_settings, epochs=3, row=row)
    if row == "hybrid":  # with a rate that falls, noise, and vectors that are moved away
        settings = replace(settings, embedding_dim=64, queries=8, encoder_layers=("word", "last"), numbers_per_piece=32)
        settings = replace(
            settings, schedule="cosine", vector_noise=0.1, interpolation_noise_share=0.5, hard_negatives=2
        )
    killed_after(None)
    _, curves = train(settings, run / "whole", tiny_material)
    for step in (7, 12):
        killed_after(step)
        with pytest.raises(KeyboardInterrupt):
            train(settings, run / "cut", tiny_material)
        assert not (run / "cut" / "models" / settings.name / "training.json").exists()
    killed_after(None)
    torch.manual_seed(99)  # whatever the process did before
    expected = torch.random.get_rng_state()
    _, resumed = train(settings, run / "cut", tiny_material)
    assert torch.equal(torch.random.get_rng_state(), expected)  # and whatever it does after is its own
    name = f"models/{settings.name}"
    assert same(weights(run / "whole" / name), weights(run / "cut" / name))
    columns = ["epoch", "step", "validation_loss", "accuracy"]
    pd.testing.assert_frame_equal(resumed[columns], curves[columns], check_dtype=False)
    log = (run / "cut" / "log.txt").read_text()
    assert log.count("epoch 1.00 validation") == 1  # the first epoch was not done again


def test_validations_after_so_many_steps_whatever_an_epoch_has(run, tiny_settings, tiny_material, killed_after):
    """And the last step has one; killed within an epoch, it goes on from the last of them."""
    settings = replace(tiny_settings, epochs=9, steps=7, evaluate_every=3, schedule="cosine")
    killed_after(None)
    _, curves = train(settings, run / "whole", tiny_material)
    assert curves.step.tolist() == [3, 6, 7]
    killed_after(5)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run / "cut", tiny_material)
    killed_after(None)
    _, resumed = train(settings, run / "cut", tiny_material)
    assert resumed.step.tolist() == [3, 6, 7]
    assert same(*(weights(run / part / "models" / settings.name) for part in ("whole", "cut")))


def test_time_is_counted_over_resumes(run, tiny_settings, tiny_material, killed_after):
    settings = replace(tiny_settings, epochs=3)
    killed_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run, tiny_material)
    clock = run / "models" / "att_pool_32" / "checkpoints" / "clock.json"
    paths.write_json(clock, {"seconds": 1000.0})
    killed_after(None)
    train(settings, run, tiny_material)
    assert TrainingRecord.read(run / "models" / "att_pool_32").seconds > 1000


@pytest.mark.parametrize("damaged", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_damaged_newest_checkpoint_falls_back(run, tiny_settings, tiny_material, killed_after, trainings, damaged):
    settings = replace(tiny_settings, epochs=3)
    killed_after(12)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run, tiny_material)
    work = run / "models" / "att_pool_32" / "checkpoints"
    newest = work / "checkpoint-10"
    whole = (newest / damaged).read_bytes()
    (newest / damaged).write_bytes(whole[: len(whole) // 2])
    killed_after(None)
    with pytest.warns(UserWarning, match="checkpoint-10 is damaged"):
        _, curves = train(settings, run, tiny_material)
    assert trainings[-1].endswith("checkpoint-5")
    assert curves.step.tolist() == [5, 10, 15]


def test_with_every_checkpoint_damaged_it_begins_anew(run, tiny_settings, tiny_material, killed_after, trainings):
    settings = replace(tiny_settings, epochs=2)
    killed_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run, tiny_material)
    work = run / "models" / "att_pool_32" / "checkpoints"
    (work / "checkpoint-5" / "model.safetensors").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert newest_whole_checkpoint(work) is None
    killed_after(None)
    _, curves = train(settings, run, tiny_material)
    assert trainings[-1] is None and curves.step.tolist() == [5, 10]
    assert newest_whole_checkpoint(run / "nowhere") is None


def test_steps_end_a_training_and_repeat_one_that_was_stopped(run, tiny_settings, tiny_material):
    """An epoch is five steps; one that its time limit or its epochs ended ends earlier."""
    limited = replace(tiny_settings, epochs=50, minutes=1e-6)
    train(limited, run / "stopped", tiny_material)
    stopped = TrainingRecord.read(run / "stopped" / "models" / "att_pool_32")
    assert stopped.stopped_by == "time" and stopped.steps < 7

    def done(name, **changes):
        train(replace(tiny_settings, **changes), run / name, tiny_material)
        record = TrainingRecord.read(run / name / "models" / "att_pool_32")
        return record.steps, record.stopped_by

    assert done("again", epochs=50, steps=stopped.steps) == (stopped.steps, "steps")
    assert same(*(weights(run / name / "models" / "att_pool_32") for name in ("stopped", "again")))
    assert done("longer", epochs=50, steps=7) == (7, "steps")
    assert done("epochs", epochs=1, steps=7) == done("none", epochs=1, steps=None) == (5, "epochs")
    assert done("exactly", epochs=1, steps=5) == (5, "epochs")
    flat = {"epochs": 50, "learning_rate": 1e-12, "stop_patience": 1}  # nothing gets better
    assert done("flat", steps=27, **flat) == (10, "plateau")


def test_a_time_limit_marks_the_row(run, tiny_settings, tiny_material):
    settings = replace(tiny_settings, epochs=50, minutes=1e-6)
    _, curves = train(settings, run, tiny_material)
    done = TrainingRecord.read(run / "models" / "att_pool_32")
    assert done.stopped_by == "time" and done.epochs < 1
    assert len(curves) == 1 and curves.validation_loss.notna().all()


def test_a_no_vector_control_has_steps_of_its_own(run, tiny_settings, tiny_material):
    train(replace(tiny_settings, row="no_vector", epochs=50, steps=9, no_vector_steps=3), run, tiny_material)
    done = TrainingRecord.read(run / "models" / "no_vector_32")
    assert (done.steps, done.stopped_by) == (3, "steps")


def test_a_plateau_stops_and_the_best_epoch_is_kept(run, tiny_settings, tiny_material):
    """A rate so high that it gets worse: the weights are those of the lowest validation loss, not the last."""
    settings = replace(
        tiny_settings, epochs=40, learning_rate=0.05, stop_patience=2, plateau_patience=9, sent_sim_weight=0.0
    )
    model, curves = train(settings, run, tiny_material)
    done = TrainingRecord.read(run / "models" / "att_pool_32")
    assert done.stopped_by == "plateau" and len(curves) < 40
    assert curves.validation_loss.idxmin() == len(curves) - 3
    assert done.validation_loss == curves.validation_loss.min()
    from invlib.measures.intervals import ratio
    from invlib.measures.text import teacher_forced

    found = teacher_forced(model, tiny_material.dataset("validation"), top_k=(1,))
    assert ratio(found["nats"], found["tokens"]) == pytest.approx(done.validation_loss, rel=0.02)


def test_a_resumed_run_counts_on_towards_its_plateau(run, tiny_settings, tiny_material, killed_after):
    """The rate is nothing, so nothing gets better: three epochs, whether or not the run was killed in the third."""
    settings = replace(tiny_settings, epochs=40, learning_rate=1e-12, stop_patience=2, sent_sim_weight=0.0)
    _, whole = train(settings, run / "whole", tiny_material)
    killed_after(len(whole) * 5 - 2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run / "cut", tiny_material)
    killed_after(None)
    _, resumed = train(settings, run / "cut", tiny_material)
    assert len(whole) < 10 and resumed.step.tolist() == whole.step.tolist()


def test_unchanged_settings_load_and_a_changed_one_trains_anew(run, tiny_settings, tiny_material, trainings):
    settings = replace(tiny_settings, epochs=1)
    first, curves = train(settings, run, tiny_material)
    measured = replace(settings, n_generate=3, n_bootstrap=7, rows=("rnn_8",))  # says how, not what
    again, read = train(measured, run, tiny_material)
    assert len(trainings) == 1
    assert same(first.state_dict(), again.state_dict())
    pd.testing.assert_frame_equal(curves, read)
    for change in ({"seed": 1}, {"learning_rate": 1e-4}, {"sampled_negatives": 0}):
        train(replace(settings, **change), run, tiny_material)
    other = replace(tiny_material, corpus=SimpleNamespace(**{**vars(tiny_material.corpus), "data_hash": "f" * 12}))
    train(replace(settings, sampled_negatives=0), run, other)  # other headlines are another model
    assert len(trainings) == 5
    assert not same(first.state_dict(), weights(run / "models" / "att_pool_32"))


def test_an_ablation_may_become_a_row_of_the_tables_and_never_replaces_one(
    run, tiny_settings, tiny_material, trainings
):
    """Else a row that was asked for would be in no table, without a word."""
    settings, folder = replace(tiny_settings, epochs=1), run / "models" / "att_pool_32"
    for purpose, expected in (("ablation", "ablation"), ("study", "study"), ("ablation", "study")):
        train(settings, run, tiny_material, purpose)
        assert TrainingRecord.read(folder).purpose == expected
    row = weights(folder)
    with pytest.raises(ValueError, match="a model of the run's tables .* move it away"):
        train(replace(settings, learning_rate=1e-4), run, tiny_material, "ablation")
    assert len(trainings) == 1 and same(weights(folder), row)


def test_checkpoints_of_other_settings_are_not_taken_up(run, tiny_settings, tiny_material, killed_after, trainings):
    killed_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_settings, run, tiny_material)
    killed_after(None)
    train(replace(tiny_settings, learning_rate=1e-4), run, tiny_material)
    assert trainings == [None, None]


def test_the_seed_decides_the_weights(run, tiny_settings, tiny_material):
    settings = replace(tiny_settings, epochs=1)
    names = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 1000)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        train(replace(settings, seed=seed), run / name, tiny_material)
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        assert after == before  # nobody else's draws depend on a training
        names.append(weights(run / name / "models" / "att_pool_32"))
    assert same(names[0], names[1]) and not same(names[0], names[2])


def test_sent_sim_is_applied_as_often_as_the_settings_say(run, tiny_settings, tiny_material, monkeypatch):
    calls, real = [], sent_sim_loss
    monkeypatch.setattr(trainer_module, "sent_sim_loss", lambda *a: calls.append(a[3]) or real(*a))
    train(replace(tiny_settings, epochs=1, sent_sim_every=2), run / "a", tiny_material)
    assert calls == [4, 4, 4]  # steps 0, 2 and 4 of five, four headlines each
    train(replace(tiny_settings, epochs=1, sent_sim_weight=0.0), run / "b", tiny_material)
    train(replace(tiny_settings, epochs=1, row="no_vector"), run / "c", tiny_material)
    assert len(calls) == 3
    assert not same(weights(run / "a/models/att_pool_32"), weights(run / "b/models/att_pool_32"))


def test_an_older_record_never_stands_beside_new_weights(run, tiny_settings, tiny_material, monkeypatch):
    """A training that is killed where it writes leaves no model that is taken for the old one."""
    train(tiny_settings, run, tiny_material)
    folder = run / "models" / "att_pool_32"
    real = paths.write_csv

    def full(file, table):
        if file.parent.name == "curves":  # where the weights have just been written
            raise OSError("disk full")
        return real(file, table)

    monkeypatch.setattr(paths, "write_csv", full)
    with pytest.raises(OSError, match="disk full"):
        train(replace(tiny_settings, weight_decay=0.5), run, tiny_material)
    identity = identity_of(tiny_settings, tiny_material.corpus.data_hash, tiny_material.encoder.hash)
    assert not ResumableTraining(folder, identity).done and not (folder / "training.json").exists()


def test_scoring_is_not_on_the_rows_time(run, tiny_settings, tiny_material, monkeypatch):
    """A slower scorer leaves as many steps: what a model is measured by is no part of its training."""
    now = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(*_):
        now[0] += 1000.0
        return np.ones(4)

    monkeypatch.setattr(trainer_module, "bertscore", slow)
    train(replace(tiny_settings, bertscore_every_epoch=4, minutes=1.0, epochs=3), run, tiny_material)
    done = TrainingRecord.read(run / "models" / "att_pool_32")
    assert done.epochs == 3 and done.seconds == 0 and now[0] >= 3000


def test_rows_that_cant_be_built_are_named_before_anything_is_read(run, monkeypatch, capsys):
    monkeypatch.setattr(train_module, "load_material", lambda *_: pytest.fail("the headlines were read"))
    with pytest.raises(SystemExit):
        main(["--preset", "smoke", "--row", "hybrid_96", "--row", "cls_decoder_64", "--data", "synthetic"])
    assert "give D = 384" in capsys.readouterr().err


def test_a_row_is_trained_from_the_command_line(run, tiny_material, tiny_settings, monkeypatch, capsys, tiny_folder):
    asked = []

    def preset(name, rows=None, **given):
        asked.append(given)
        rows = (rows or "rnn_16",)
        return replace(tiny_settings, preset=name, row=None, embedding_dim=None, epochs=1, rows=rows)

    monkeypatch.setattr(train_module, "load_preset", preset)
    monkeypatch.setattr(train_module, "load_material", lambda settings: tiny_material)
    main(["--preset", "smoke", "--row", "cls_decoder_32", "--run", str(run)])
    assert "validation_loss" in capsys.readouterr().out
    main(["--preset", "smoke", "--run", str(run)])
    assert sorted(p.name for p in (run / "models").iterdir()) == ["cls_decoder_32", "rnn_16"]
    nothing = dict.fromkeys(("data", "column", "encoder", "seed"))
    assert asked == [nothing, nothing]
    told = {"data": "own.csv", "column": "title", "encoder": "folder", "seed": 7}
    main(["--preset", "smoke", "--run", str(run), *(f"--{name}={value}" for name, value in told.items())])
    assert asked[2] == told
    shutil.rmtree(run)


# hybrid: what training gives it beside headlines


def test_hybrid_learns_from_added_sentences_with_a_falling_rate(run, tiny_settings, tiny_material):
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=64, queries=8, encoder_layers=("word", "last"), numbers_per_piece=32,
        vector_noise=0.1, interpolation_noise_share=0.5, random_sentence_ratio=0.5, schedule="cosine", epochs=3,
    )  # fmt: skip
    model, curves = train(settings, run, tiny_material)
    done = TrainingRecord.read(run / "models" / "hybrid_64")
    assert done.train_headlines == 40 and done.random_sentences == 20
    assert curves.step.tolist() == [8, 16, 24]  # sixty sentences, eight a step
    assert curves.learning_rate.iloc[-1] < 0.1 * curves.learning_rate.max()
    sentence = np.asarray(tiny_material.states["train"].sentence)
    np.testing.assert_allclose(model.pooling.components, fit_components(sentence, model.config.prefix_size), atol=1e-5)
    assert len(tiny_material.training_set(("last",), 0.01, 0.01, 0, 16)) == 40  # less than half a sentence is none
    dataset = tiny_material.training_set(("word", "last"), 0.5, 0.0, 0, 16)
    made = dataset[45]
    assert not made["real"] and dataset[3]["real"] and made["token_embeddings"].shape[1] == 64
    words = tiny_material.encoder.word_embeddings[made["input_ids"].tolist()]
    np.testing.assert_array_equal(made["token_embeddings"][:, :32], words)


def test_a_rate_falls_over_the_steps_whatever_the_clock_says(run, tiny_settings, tiny_material, monkeypatch):
    """Under a time limit it follows the time, where that goes faster: half of it gone, half of the rate."""
    monkeypatch.setattr(trainer_module, "WARMUP", 1)
    settings = replace(tiny_settings, schedule="cosine", epochs=4, learning_rate=1e-3, sampled_negatives=0)
    _, curves = train(replace(settings, steps=10), run / "steps", tiny_material)
    _, limited = train(replace(settings, steps=10, minutes=60.0), run / "limited", tiny_material)
    fifth, tenth = (0.5e-3 * (1 + np.cos(np.pi * done)) for done in (0.3, 0.8))  # as set one step before
    for curve in (curves, limited):
        assert curve.learning_rate.tolist() == pytest.approx([fifth, tenth])
    monkeypatch.setattr(Clock, "share", 0.5)
    _, late = train(replace(settings, steps=20), run / "late", tiny_material)
    assert late.learning_rate.iloc[0] == pytest.approx(0.5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_moves_the_vector_inside_the_autocast(run, tiny_settings, tiny_material, monkeypatch, dtype):
    """A real training step: noise is drawn on the pooled vectors, and the pooling runs in the Trainer's precision."""
    pooled, seen = [], []

    def spy(z, noise, share, real, strongest):
        seen.append((noise, share, real.all().item()))
        return z + 100  # so far away that the loss must feel it

    real_moved = InvertibleTrainer.moved
    monkeypatch.setattr(
        InvertibleTrainer, "moved", lambda self, z, batch: pooled.append(z.dtype) or real_moved(self, z, batch)
    )
    monkeypatch.setattr(trainer_module, "precision", lambda where: dtype)
    settings = replace(tiny_settings, epochs=1, sent_sim_weight=0.0)
    train(settings, run / "still", tiny_material)
    monkeypatch.setattr(trainer_module, "perturb", spy)
    train(replace(settings, vector_noise=0.3, interpolation_noise_share=0.2), run / "moved", tiny_material)
    assert pooled == [dtype] * 5 and [s[0] for s in seen] == [0.3] * 5 and seen[0][2]
    assert seen[4][1] == pytest.approx(0.2 * 0.8)
    losses = [pd.read_csv(run / name / "curves" / "att_pool_32.csv").train_loss.iloc[0] for name in ("still", "moved")]
    assert losses[1] > losses[0]


def test_previous_pieces_are_exchanged_for_the_decoder_alone(tiny_settings, tiny_material):
    """What the decoder reads differs from the text, what it is to say does not."""
    batch = collate([tiny_material.dataset("train")[k] for k in range(8)])
    trainer = SimpleNamespace(settings=replace(tiny_settings, previous_dropout=0.5), progress=lambda: 1.0)
    torch.manual_seed(0)
    found = InvertibleTrainer.moved(trainer, torch.zeros(8, 32), batch)
    assert torch.equal(found["input_ids"], batch["input_ids"])
    assert not torch.equal(found["previous_ids"], batch["input_ids"])
    model = build_model(tiny_settings, tiny_material.encoder).eval()
    own, other = (
        model(**batch, move=lambda z, b, m=m: {**b, **m}) for m in ({}, {"previous_ids": found["previous_ids"]})
    )
    assert torch.equal(own["labels"], other["labels"]) and not torch.equal(own["states"], other["states"])


def test_a_training_starts_from_another_models_weights(run, tiny_settings, tiny_material):
    """One step at a rate of nearly 0 leaves them as they were; other shapes are refused by name."""
    first, _ = train(replace(tiny_settings, steps=2), run, tiny_material)
    settings = replace(tiny_settings, variant="on", start_from="att_pool_32", steps=1, learning_rate=1e-9)
    second, _ = train(settings, run, tiny_material)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="can't start from att_pool_32"):
        train(replace(settings, embedding_dim=64), run, tiny_material)


def test_texts_of_128_word_pieces_from_settings_to_decoding(run, tiny_encoder, tiny_settings, tmp_path):
    """max_length up to the encoder's own limit: read whole, learned, and decoded to their end."""
    config = BertConfig(**{**tiny_encoder.model.config.to_dict(), "max_position_embeddings": 128})
    torch.manual_seed(0)
    encoder = FrozenEncoder("long", BertModel(config), tiny_encoder.tokenizer)
    words = "oil gold falls rises on tariffs".split()
    texts = [" ".join(words[(k + i) % len(words)] for i in range(90 + k)) for k in range(37)]
    states = token_states(encoder, texts, 128, cache=tmp_path, progress=False)
    corpus = SimpleNamespace(splits={}, data_hash="abc", source="own", synthetic=False)
    material = Material(corpus, encoder, dict.fromkeys(("train", "validation", "test"), states))
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=512, numbers_per_piece=8, encoder_layers=("word", "last"),
        max_length=128, n_positions=128, epochs=6, sent_sim_weight=0.0,
    )  # fmt: skip
    model, curves = train(settings, run, material)
    assert states.n_cut == 0 and curves.accuracy.iloc[-1] > curves.accuracy.iloc[0]
    lengths = [len(ids) for ids in model.generate_ids(model.encode(texts[-2:]))]
    assert min(lengths) > 64 and max(lengths) <= 127  # the whole text, not its first forty pieces
