"""A corrector's training: what it learns on, what it leaves, and that one which was stopped goes on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from invlib import paths
from invlib.encoders.recombined import Recombined
from invlib.inversion import __main__ as command
from invlib.inversion import train_corrector as module
from invlib.inversion.candidates import embed, propose
from invlib.inversion.corrections import Corrections, FreshLengths, collate_corrections, hypotheses
from invlib.inversion.invert import Chain, invert
from invlib.inversion.train_corrector import ALONE, CorrectorTrainer, as_corrector, corrected_greedily, train_corrector
from invlib.models.model import InvertibleSentenceModel
from invlib.training import callbacks
from invlib.training.record import TrainingRecord


@pytest.fixture
def settings(inverter_settings):
    """Two epochs of 16 texts, each of them twice, eight a step."""
    return replace(inverter_settings, variant="corrector", corrected_texts=16, epochs=2, learning_rate=1e-3)


@pytest.fixture
def corrections(tiny_material):
    """build(n, seed) -> so many texts an epoch, made of the training sentences."""
    real = tiny_material.dataset("train", layers=()).ids()

    def build(n: int = 100, seed: int = 0, *more) -> Corrections:
        return Corrections(real, Recombined(real, tiny_material.encoder, 160, seed + 1, 16), n, seed, *more)

    return build


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# What it learns on


def test_an_epoch_has_headlines_recombined_texts_and_a_hypothesis_for_each(corrections, corrector, tiny_encoder):
    made = corrections()
    made.refresh(corrector, 0)
    assert len(made.texts) == len(made.hypotheses) == 100 and len(made) == 200
    real = {tuple(ids) for ids in made.real}
    assert 25 <= sum(tuple(text) in real for text in made.texts) < 60  # a recombined one may be a headline as it was
    assert made.lengths.tolist() == [len(text) for text in made.texts] * 2
    for text in made.texts + made.hypotheses:
        assert (text[0], text[-1]) == (tiny_encoder.bos_token_id, tiny_encoder.eos_token_id) and len(text) <= 16
    pairs = list(zip(made.texts, made.hypotheses, strict=True))
    shared = [len(set(text) & set(other)) / len(set(text)) for text, other in pairs]
    assert 0.7 < np.mean(shared[:85]) < 1 and np.mean([text == other for text, other in pairs]) < 0.6
    again, item = made[103], made[3]
    assert all(np.array_equal(item[key], again[key]) for key in item)
    assert item["input_ids"].tolist() == made.texts[3] and item["hypothesis"].tolist() == made.hypotheses[3]


def test_each_epoch_has_texts_of_its_own_by_the_seed(corrections, corrector):
    made = corrections()
    found = []
    for epoch, build in ((0, made), (1, made), (0, corrections()), (0, corrections(seed=1))):
        build.refresh(corrector, epoch)
        found.append((build.texts, build.hypotheses[:85]))  # the others are drawn by torch
    assert found[0] == found[2] and found[0][0] != found[1][0] and found[0][0] != found[3][0]


def test_some_hypotheses_are_the_models_own(corrections, corrector, monkeypatch):
    """Made of the vectors of the very texts that they stand beside."""
    given = []

    def own(model, z):
        given.append(z)
        return [(7,)] * len(z)

    monkeypatch.setattr("invlib.inversion.corrections.hypotheses", own)
    made = corrections()
    made.refresh(corrector, 0)
    (z,) = given
    n = len(z)
    assert 0 < n < 50 and [hypothesis[1:-1] for hypothesis in made.hypotheses[-n:]] == [[7]] * n
    np.testing.assert_allclose(z.cpu(), embed(corrector, [text[1:-1] for text in made.texts[-n:]]), atol=1e-6)
    assert [7] not in [hypothesis[1:-1] for hypothesis in made.hypotheses[:-n]]


def test_how_many_are_its_own_and_how_often_each_comes_is_set(corrections, corrector, monkeypatch):
    monkeypatch.setattr("invlib.inversion.corrections.hypotheses", lambda model, z: [(7,)] * len(z))
    made = corrections(100, 0, 3, 0.4)
    made.refresh(corrector, 0)
    assert len(made) == len(made.lengths) == 300
    assert [hypothesis[1:-1] == [7] for hypothesis in made.hypotheses] == [False] * 60 + [True] * 40
    assert made[205]["hypothesis"].tolist() == made.hypotheses[5]


def test_a_models_hypotheses_are_drawn_likeliest_and_corrected(corrector, vectors, monkeypatch):
    asked, real = [], propose

    def spy(model, z, hypotheses=None, n=1, temperature=0.0, **more):
        asked.append((len(z), hypotheses, temperature))
        return real(model, z, hypotheses, n, temperature, **more)

    monkeypatch.setattr("invlib.inversion.corrections.propose", spy)
    z = torch.from_numpy(vectors).to(corrector.device)
    torch.manual_seed(0)
    found = hypotheses(corrector, z)
    assert len(found) == 16 and [(n, t) for n, _, t in asked] == [(8, 0.7), (8, 0.0), (8, 0.0), (4, 0.0)]
    assert [given is not None and len(given) for _, given, _ in asked] == [False, False, 8, 4]
    first = [row[0] for row in real(corrector, z)]
    assert found[8:] != first[8:] and sum(a == b for a, b in zip(found[8:], first[8:], strict=True)) >= 2
    assert set(asked[3][1]) & set(found) != set(asked[3][1])  # what was corrected twice is not what it was
    monkeypatch.setattr("invlib.inversion.corrections.ROUNDS", ())
    monkeypatch.setattr("invlib.inversion.corrections.SAMPLED", 0.0)
    assert hypotheses(corrector, z) == first


def test_a_batch_pads_texts_and_hypotheses_each_to_their_longest(corrections, corrector):
    made = corrections()
    made.refresh(corrector, 0)
    ks = [3, 50, 99]
    batch = collate_corrections([made[k] for k in ks])
    for ids, mask, rows in (
        ("input_ids", "attention_mask", made.texts), ("hypothesis_ids", "hypothesis_mask", made.hypotheses)
    ):  # fmt: skip
        assert batch[ids].shape == batch[mask].shape == (3, max(len(rows[k]) for k in ks))
        assert [row[m > 0].tolist() for row, m in zip(batch[ids], batch[mask], strict=True)] == [rows[k] for k in ks]


# How it is measured


def test_a_correction_counts_where_it_is_nearer(corrector, texts, vectors, monkeypatch):
    true, at = [[text] for text in texts], iter([3, 0, 5])

    def propose(model, z, hypotheses=None, n=1, temperature=0.0):
        place = next(at)
        return [[texts[place]] for _ in texts] if hypotheses is None or place else true

    monkeypatch.setattr(module, "propose", propose)
    first, second, third = corrected_greedily(corrector, texts, 2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert first["cosine"] == pytest.approx(float((unit @ unit[3]).mean()), abs=1e-4)
    assert first["exact"] == pytest.approx(1 / 16) and first["bleu"] < 50
    assert second["exact"] == third["exact"] == 1 and second["cosine"] == pytest.approx(1, abs=1e-5)
    assert third == second and third["bleu"] == pytest.approx(100)


def test_a_corrector_starts_as_its_inverter(inverter, settings, vectors):
    model = as_corrector(inverter, replace(settings, dropout=0.25))
    assert model.config.decoder == "correcting" and model.config.dropout == 0.25 and model.encoder is inverter.encoder
    own = inverter.state_dict()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in own.items())
    more = {key for key in model.state_dict() if key not in own}
    assert more == {"decoder.difference.weight", "decoder.states.weight", "decoder.states.bias"}
    assert model.eval().decode(vectors) == inverter.decode(vectors)
    assert inverter.config.decoder == "transformer"


# The training


def test_a_training_leaves_model_curve_and_record_and_is_loaded(
    run, settings, inverter, tiny_material, monkeypatch, encoder_reads
):
    begun, real, read = [], CorrectorTrainer.train, []
    monkeypatch.setattr(CorrectorTrainer, "train", lambda self, **more: begun.append(1) or real(self, **more))
    compute, epochs, refresh = CorrectorTrainer.compute_loss, [], Corrections.refresh

    def spy(self, model, inputs, *args, **more):
        before = len(encoder_reads)
        loss = compute(self, model, inputs, *args, **more)
        hypotheses = [tuple(ids[mask > 0][1:-1].tolist()) for ids, mask in
                      zip(inputs["hypothesis_ids"], inputs["hypothesis_mask"], strict=True)]  # fmt: skip
        read.append(set(hypotheses) <= set(encoder_reads[before:]))
        return loss

    def refreshed(self, model, epoch):
        refresh(self, model, epoch)
        epochs.append((epoch, model.training, list(self.texts)))

    monkeypatch.setattr(CorrectorTrainer, "compute_loss", spy)
    monkeypatch.setattr(Corrections, "refresh", refreshed)
    expected = inverter.state_dict() | {}
    expected = {key: value.clone() for key, value in expected.items()}
    model, curves = train_corrector(settings, inverter, run, tiny_material)
    folder = run / "models" / "mean_decoder_32_corrector"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "training.json"]
    assert curves.step.tolist() == [4, 8] and curves.epoch.tolist() == [1, 2]
    figures = [f"{name}_{k}" for name in ("cosine", "exact", "bleu") for k in range(4)]
    assert curves[[*figures, "validation_loss", "train_loss"]].notna().all(axis=None)
    np.testing.assert_allclose(curves.validation_loss, 1 - curves.cosine_3)
    assert (curves.cosine_3 >= curves.cosine_0).all()
    pd.testing.assert_frame_equal(pd.read_csv(run / "curves" / "mean_decoder_32_corrector.csv"), curves)
    done = TrainingRecord.read(folder)
    assert (done.stopped_by, done.epochs, done.steps, done.train_headlines) == ("epochs", 2, 8, 40)
    assert done.settings == settings and done.accuracy is None
    assert done.validation_loss == curves.validation_loss.min()
    assert "mean_decoder_32_corrector epoch 2.00" in (run / "log.txt").read_text()
    # each epoch has its texts; each fourth step no hypothesis
    assert [epoch for epoch, _, _ in epochs] == [0, 1] and epochs[0][2] != epochs[1][2]
    assert [k for k, there in enumerate(read) if not there] == list(range(0, 8, ALONE))
    # all of the decoder has learned, nothing of the inverter or the encoder has
    assert model.decoder.difference.weight.abs().max() > 0 and same(inverter.state_dict(), expected)
    assert not torch.equal(model.decoder.memory.slot_embeddings, inverter.decoder.memory.slot_embeddings)
    assert model.folder == folder and not model.training and model.dtype == torch.float32
    # the second time it is loaded
    again, read_curves = train_corrector(settings, inverter, run, tiny_material)
    assert len(begun) == 1 and same(again.state_dict(), model.state_dict())
    pd.testing.assert_frame_equal(read_curves, curves)
    train_corrector(replace(settings, steps=1), inverter, run, tiny_material)
    assert len(begun) == 2 and TrainingRecord.read(folder).steps == 1


def test_an_attacker_learns_on_vectors_with_noise(run, settings, inverter, tiny_material, monkeypatch):
    """In training and where it is measured the vectors are as far off as the setting says; plain ones are not."""
    given, forward, measured, real = [], InvertibleSentenceModel.forward, [], module.propose

    def spy(self, *args, **batch):
        given.append(batch["reference"])
        return forward(self, *args, **batch)

    monkeypatch.setattr(InvertibleSentenceModel, "forward", spy)
    monkeypatch.setattr(
        module, "propose", lambda model, z, *more, **how: measured.append(z) or real(model, z, *more, **how)
    )
    settings = replace(settings, own_hypotheses=0.0)  # what is proposed, is measured
    lengths = {}
    for noise in (0.0, 0.5):
        given.clear()
        measured.clear()
        noisy = replace(settings, vector_noise=noise, steps=2, variant=f"noise_{noise:g}".replace(".", "_"))
        train_corrector(noisy, inverter, run, tiny_material)
        lengths[noise] = torch.cat(given).norm(dim=1).mean().item(), measured[0]
    assert lengths[0.0][0] == pytest.approx(1, abs=1e-3) and lengths[0.5][0] > 1.02
    cosine = (lengths[0.0][1] * lengths[0.5][1]).sum(1)
    assert cosine.max() < 0.999 and lengths[0.5][1].norm(dim=1).sub(1).abs().max() < 1e-4


def test_an_interrupted_training_goes_on(run, settings, inverter, tiny_material, killed_after, monkeypatch):
    """Killed in its second epoch; what the first one did is not done again."""
    begun, real = [], CorrectorTrainer.train

    def counted(self, resume_from_checkpoint=None):
        begun.append(resume_from_checkpoint)
        return real(self, resume_from_checkpoint=resume_from_checkpoint)

    monkeypatch.setattr(CorrectorTrainer, "train", counted)
    killed_after(6, module)
    with pytest.raises(KeyboardInterrupt):
        train_corrector(settings, inverter, run, tiny_material)
    folder = run / "models" / "mean_decoder_32_corrector"
    (first,) = pd.read_csv(folder / "checkpoints" / "curve.csv").validation_loss
    assert not (folder / "training.json").exists()
    paths.write_json(folder / "checkpoints" / "clock.json", {"seconds": 1000.0})
    killed_after(None, module)
    model, curves = train_corrector(settings, inverter, run, tiny_material)
    whole, _ = train_corrector(settings, inverter, run.parent / "whole", tiny_material)
    assert same(model.state_dict(), whole.state_dict())  # as if nothing had happened
    assert begun[0] is None and begun[1].endswith("checkpoint-4")
    assert curves.step.tolist() == [4, 8] and curves.validation_loss.iloc[0] == first
    done = TrainingRecord.read(folder)
    assert done.seconds > 1000 and done.steps == 8
    assert (run / "log.txt").read_text().count("epoch 1.00") == 1


def test_the_seed_decides_and_the_generator_is_left_alone(run, settings, inverter, tiny_material):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(found))
        expected = torch.random.get_rng_state()
        train_corrector(replace(settings, seed=seed, steps=2, corrected_texts=8), inverter, run / name, tiny_material)
        assert torch.equal(torch.random.get_rng_state(), expected)
        found.append(weights(run / name / "models" / "mean_decoder_32_corrector"))
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_another_inverter_makes_another_corrector(run, settings, inverter, tiny_material):
    other = as_corrector(inverter, settings)  # the same shape, and one weight of another value
    with torch.no_grad():
        other.decoder.vocabulary.bias[0] += 1
    first, _ = train_corrector(replace(settings, steps=1), inverter, run, tiny_material)
    second, _ = train_corrector(replace(settings, steps=1), other, run, tiny_material)
    again, _ = train_corrector(replace(settings, steps=1), other, run, tiny_material)
    assert not same(first.state_dict(), second.state_dict()) and same(second.state_dict(), again.state_dict())


def test_texts_of_like_length_share_a_step(corrections, corrector):
    """Their lengths are those of this epoch: before it there are none."""
    made = corrections(200)
    sampler = FreshLengths(8, made)
    made.refresh(corrector, 1)
    lengths = made.lengths[list(sampler)].reshape(-1, 8)
    assert sorted(sampler) == list(range(400)) and np.ptp(lengths, axis=1).mean() < 0.5 * np.ptp(made.lengths)


def test_measuring_is_not_on_its_time(run, settings, inverter, tiny_material, monkeypatch):
    now, real = [0.0], module.corrected_greedily
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(*args):
        now[0] += 1000.0
        return real(*args)

    monkeypatch.setattr(module, "corrected_greedily", slow)
    train_corrector(replace(settings, minutes=1.0, corrected_texts=8), inverter, run, tiny_material)
    done = TrainingRecord.read(run / "models" / "mean_decoder_32_corrector")
    assert (done.stopped_by, done.epochs, done.seconds) == ("epochs", 2, 0.0) and now[0] == 2000


# From the command line


def test_inverter_and_corrector_are_trained_one_after_the_other(
    tiny_folder, tiny_material, inverter, monkeypatch, capsys
):
    done = []
    monkeypatch.setattr(command, "load_material", lambda settings: tiny_material)
    monkeypatch.setattr(
        command, "train", lambda s, run, material, purpose: done.append((s.name, run)) or (inverter, None)
    )

    def second(s, model, run, material):
        done.append((s.name, run, model is inverter, material is tiny_material))
        return None, pd.DataFrame({"cosine_3": [0.5, 0.625]})

    monkeypatch.setattr(command, "train_corrector", second)
    command.main(["--preset", "smoke", "--encoder", tiny_folder, "--run", "mine"])
    assert done == [
        ("mean_decoder_32_inverter", "mine"), ("mean_decoder_32_corrector", "mine", True, True)
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "cosine_3" in shown and "0.625" in shown and "0.5\n" not in shown


def test_an_error_on_the_command_line_is_one_line(capsys, tmp_path):
    for arguments in (["--preset", "none"], ["--preset", "smoke", "--encoder", str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as stopped:
            command.main(arguments)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("python -m invlib.inversion: ")


# Which inverter is taken


def test_a_runs_own_inverter_is_taken_first(run, inverter, corrector, tiny_settings, tiny_material, monkeypatch):
    settings = replace(tiny_settings, row=None, embedding_dim=None)
    corrector.save_pretrained(run / "shipped")
    monkeypatch.setattr(module, "SHIPPED", str(run / "shipped"))
    model, whose = module.find_inverter(settings, run, tiny_material)
    assert whose == "the repository's" and same(model.state_dict(), corrector.state_dict())
    own = run / "models" / "mean_decoder_32_corrector"
    inverter.save_pretrained(own)
    assert module.find_inverter(settings, run, tiny_material)[1] == "the repository's"  # not trained to its end
    (own / "training.json").write_text("{}")
    model, whose = module.find_inverter(settings, run, tiny_material)
    assert whose == "this run's" and same(model.state_dict(), inverter.state_dict())
    paths.write_json(own / "config.json", paths.read_json(own / "config.json") | {"encoder_hash": "0" * 12})
    with pytest.raises(FileNotFoundError, match="no inverter for encoder"):  # the run's is another's
        module.find_inverter(settings, run, tiny_material)


def test_an_inverter_is_trained_where_the_run_is_to_have_its_own(
    run, inverter, tiny_settings, tiny_material, monkeypatch
):
    settings, done = replace(tiny_settings, row=None, embedding_dim=None, own_inverter=True), []
    monkeypatch.setattr(module, "train", lambda s, *_, **more: done.append(s.name) or (inverter, None))
    monkeypatch.setattr(module, "train_corrector", lambda s, *_: done.append(s.name) or ("corrector", None))
    assert module.find_inverter(settings, run, tiny_material) == ("corrector", "this run's")
    assert done == ["mean_decoder_32_inverter", "mean_decoder_32_corrector"]


def test_an_encoder_without_inverter_is_told_how_to_train_one(
    run, corrector, tiny_settings, tiny_material, monkeypatch
):
    settings = replace(tiny_settings, row=None, embedding_dim=None)
    corrector.save_pretrained(run / "shipped")
    values = paths.read_json(run / "shipped" / "config.json")
    paths.write_json(run / "shipped" / "config.json", values | {"encoder_hash": "0" * 12})
    monkeypatch.setattr(module, "SHIPPED", str(run / "shipped"))
    with pytest.raises(FileNotFoundError, match="no inverter for encoder .*python -m invlib.inversion --encoder"):
        module.find_inverter(settings, run, tiny_material)


def test_a_saved_corrector_inverts(corrector, vectors, tmp_path):
    corrector.save_pretrained(tmp_path)
    again, chain = InvertibleSentenceModel.from_pretrained(tmp_path), Chain(beam=2, rounds=1, kept=2, children=2)
    first, other = (invert(model, vectors[:4], chain) for model in (corrector, again))
    assert [one.best for one in first] == [one.best for one in other]
