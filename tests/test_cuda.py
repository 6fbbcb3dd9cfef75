"""On a CUDA card as on the CPU: states, vectors, texts, codes; trainings end, go on after a kill, and keep no memory.

`pytest -m cuda` runs them alone. The CPU's side is a copy, so that no encoder that others share moves. With
CARD = torch.device("cpu") all of it runs without a card, and compares the CPU with itself.
"""

import copy
import gc
import math
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from invlib import paths
from invlib.device import device, precision
from invlib.encoders.token_states import token_states
from invlib.inversion.invert import Chain, invert
from invlib.inversion.train_corrector import train_corrector
from invlib.language_models.fit_vectors import fit, start_vectors
from invlib.language_models.frozen import load_causal_lm
from invlib.language_models.own import train_language_model
from invlib.language_models.own_network import LanguageModelSettings
from invlib.models.code_layout import deinterleave, interleave, length_angles, read_length
from invlib.models.model import InvertibleSentenceModel
from invlib.models.text_code import TextCode
from invlib.rows import ROWS
from invlib.training.record import TrainingRecord
from invlib.training.throughput import PEAK
from invlib.training.train import train
from invlib.training.trainer import InvertibleTrainer

CARD = torch.device("cuda")
HYBRID = {"embedding_dim": 64, "queries": 8, "encoder_layers": ("word", "last"), "numbers_per_piece": 32}
MB = 2**20

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        CARD.type == "cuda" and not torch.cuda.is_available(),
        reason="needs a CUDA card; torch.cuda.is_available() is False on this machine",
    ),
]


def on_cpu(thing):
    """A copy of an encoder, or of a model and its encoder, on the CPU."""
    twin = copy.deepcopy(thing)
    if isinstance(twin, InvertibleSentenceModel):
        twin.encoder.to(torch.device("cpu"))
    return twin.to(torch.device("cpu"))


def shipped(name: str, encoder) -> InvertibleSentenceModel:
    """A model of the repository, with this encoder; the test is skipped where the checkout has none."""
    if not (paths.ROOT / "data" / "models" / name / "model.safetensors").is_file():
        pytest.skip(f"data/models/{name} is not in this checkout")
    model = InvertibleSentenceModel.from_pretrained(name)
    model.use_encoder(encoder)
    return model


def is_on_card(module: torch.nn.Module) -> bool:
    return {p.device.type for p in module.parameters()} == {CARD.type}


def generator_state() -> torch.Tensor:
    """That of the card's random numbers."""
    return torch.cuda.get_rng_state() if CARD.type == "cuda" else torch.get_rng_state()


def allocated() -> int:
    """Bytes of the card that tensors hold, those that nothing refers to left out."""
    gc.collect()
    return torch.cuda.memory_allocated() if CARD.type == "cuda" else 0


def assert_close(there: np.ndarray, here: np.ndarray, most: float, mean: float) -> None:
    """Two results as large, whose numbers differ by so much at most and on average; each row looks the same way."""
    assert there.shape == here.shape
    there, here = (np.asarray(x, dtype=np.float64) for x in (there, here))
    assert np.isfinite(there).all()
    difference = np.abs(there - here)
    assert difference.max() < most and difference.mean() < mean
    lengths = np.linalg.norm(there, axis=1) * np.linalg.norm(here, axis=1)
    assert ((there * here).sum(1) / lengths).min() > 0.999


@pytest.fixture
def inverter(tiny_settings, tiny_material, run):
    """A mean_decoder that has read its forty training sentences for a moment."""
    settings = replace(tiny_settings, row="mean_decoder", variant="inverter", expanded_size=64, sampled_negatives=0)
    settings = replace(settings, epochs=12, learning_rate=1e-2, stop_patience=12)
    return train(settings, run, tiny_material, purpose="ablation")[0]


@pytest.fixture
def corrector(tiny_settings, tiny_material, inverter, run):
    """The inverter's corrector after two steps, and its curve."""
    settings = replace(tiny_settings, row="mean_decoder", variant="corrector", expanded_size=64, sampled_negatives=0)
    return train_corrector(replace(settings, corrected_texts=16, steps=2), inverter, run, tiny_material)


# What the frozen encoder and the models give


def test_the_card_is_chosen():
    has_bfloat16 = CARD.type == "cuda" and torch.cuda.is_bf16_supported()
    assert device().type == CARD.type and (precision(device()) == torch.bfloat16) >= has_bfloat16
    assert torch.ones(2, device=device()).sum().item() == 2


@pytest.mark.parametrize("name", ["tiny_encoder", "minilm"])
def test_token_states_are_those_of_the_cpu(name, request, sentences, tmp_path):
    """Each in the number format that its device prefers; ids and lengths are the same."""
    encoder = request.getfixturevalue(name)
    assert is_on_card(encoder.model)
    there, here = (
        token_states(one, sentences, max_length=16, cache=tmp_path / folder, progress=False)
        for folder, one in (("card", encoder), ("cpu", on_cpu(encoder)))
    )
    assert is_on_card(encoder.model)
    np.testing.assert_array_equal(there.offsets, here.offsets)
    np.testing.assert_array_equal(there.tokens, here.tokens)
    assert there.n_cut == here.n_cut == 0
    assert there.states.dtype == np.float16 and there.sentence.dtype == np.float32
    assert_close(there.states, here.states, most=0.1, mean=0.01)
    assert_close(there.sentence, here.sentence, most=0.05, mean=0.005)


@pytest.mark.parametrize("name", ["tiny_encoder", "minilm"])
def test_token_states_in_float32_are_the_cpus_to_the_third_digit(name, request, sentences):
    encoder = request.getfixturevalue(name)
    batch = encoder.tokenize(sentences[:16])
    there, here = (
        one.token_embeddings(**batch, layers=("word", "last"), dtype=torch.float32)
        for one in (encoder, on_cpu(encoder))
    )
    assert there.device.type == CARD.type and here.device.type == "cpu"
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(there.cpu()[real], here[real], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_encodes_and_scores_as_on_the_cpu(row, tiny_model, tiny_encoder, sentences):
    model = tiny_model(row)
    twin, ids = on_cpu(model), tiny_encoder.input_ids(sentences)
    assert is_on_card(model)
    there, here = (one.encode(sentences, dtype=torch.float32) for one in (model, twin))
    np.testing.assert_allclose(there, here, atol=1e-2)  # an LSTM of a card rounds its factors to ten bits
    scores = [one.token_log_probabilities(here, [text[1:] for text in ids]) for one in (model, twin)]
    assert [len(text) for text in scores[0]] == [len(text) - 1 for text in ids]
    np.testing.assert_allclose(*(np.concatenate(found) for found in scores), atol=2e-2)


def test_the_shipped_model_encodes_and_decodes_as_on_the_cpu(minilm, sentences):
    """From the same vectors hardly any text is another: only where two word pieces are as likely."""
    model = shipped("hybrid_384_long", minilm)
    twin = on_cpu(model)
    here = twin.encode(sentences, dtype=torch.float32)
    np.testing.assert_allclose(model.encode(sentences, dtype=torch.float32), here, atol=1e-3)
    assert_close(model.encode(sentences), here, most=2e-2, mean=2e-3)  # its numbers are about 0.05
    decoded, expected = model.decode(here), twin.decode(here)
    assert np.mean([a == b for a, b in zip(decoded, expected, strict=True)]) >= 0.95
    assert np.mean([a == b for a, b in zip(decoded, sentences, strict=True)]) > 0.9


# Trainings


@pytest.mark.parametrize("row", ["att_pool", "hybrid", "rnn", "cls_decoder", "mean_decoder"])
def test_a_training_ends_learns_and_is_found_again(row, run, tiny_settings, tiny_material, sentences):
    settings = replace(tiny_settings, row=row, epochs=4, **(HYBRID if row == "hybrid" else {}))
    before, frozen = generator_state(), copy.deepcopy(tiny_material.encoder.model.state_dict())
    model, curves = train(settings, run, tiny_material)
    assert torch.equal(generator_state(), before)
    assert all(torch.equal(value, frozen[key]) for key, value in tiny_material.encoder.model.state_dict().items())
    assert is_on_card(model) and model.dtype == torch.float32 and not model.training
    assert curves.step.tolist() == [5, 10, 15, 20] and np.isfinite(curves[["train_loss", "validation_loss"]]).all(
        axis=None
    )
    assert curves.train_loss.iloc[-1] < curves.train_loss.iloc[0]
    pd.testing.assert_frame_equal(pd.read_csv(run / "curves" / f"{settings.name}.csv"), curves)

    folder = run / "models" / settings.name
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "training.json"]
    done = TrainingRecord.read(folder)
    assert done.device == CARD.type and done.steps == 20 and done.seconds > 0 and done.stopped_by == "epochs"
    assert done.tokens_seen == 4 * sum(map(len, tiny_material.dataset("train").ids()))  # no padding
    known = CARD.type == "cuda" and any(words in torch.cuda.get_device_name() for words in PEAK)
    assert 0 < done.peak_share < 1 if known else done.peak_share is None

    again = InvertibleSentenceModel.from_pretrained(folder)
    z = model.encode(sentences)
    assert is_on_card(again) and z.shape == (64, settings.embedding_dim) and np.isfinite(z).all()
    np.testing.assert_allclose(again.encode(sentences), z, atol=1e-5)
    assert again.decode(z) == model.decode(z)


def test_a_training_that_was_killed_goes_on(run, tiny_settings, tiny_material, killed_after, monkeypatch):
    """From its checkpoint, with the card's random numbers; sums on a card have no fixed order, so nearly the same."""
    settings, begun, real = replace(tiny_settings, epochs=3, dropout=0.1), [], InvertibleTrainer.train

    def counted(self, *args, **more):
        begun.append(more.get("resume_from_checkpoint"))
        return real(self, *args, **more)

    monkeypatch.setattr(InvertibleTrainer, "train", counted)
    killed_after(None)
    _, curves = train(settings, run / "whole", tiny_material)
    killed_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(settings, run / "cut", tiny_material)
    folder = run / "cut" / "models" / settings.name
    with zipfile.ZipFile(folder / "checkpoints" / "checkpoint-5" / "rng_state.pth") as kept:
        (states,) = (kept.read(name) for name in kept.namelist() if name.endswith("data.pkl"))
    assert CARD.type.encode() in states and not (folder / "training.json").exists()
    killed_after(None)
    model, resumed = train(settings, run / "cut", tiny_material)
    assert begun[:2] == [None, None] and begun[2].endswith("checkpoint-5")
    assert is_on_card(model) and TrainingRecord.read(folder).steps == 15 and not (folder / "checkpoints").exists()
    assert resumed.step.tolist() == curves.step.tolist() == [5, 10, 15]
    np.testing.assert_allclose(resumed.validation_loss, curves.validation_loss, rtol=2e-2)
    assert (run / "cut" / "log.txt").read_text().count("epoch 1.00 validation") == 1  # it was not done again


def test_a_training_keeps_no_memory_of_the_card(run, tiny_settings, tiny_material):
    """Weights and the optimiser's state are over 20 MB here; the first training also makes what the libraries keep."""
    settings = replace(tiny_settings, n_embd=256, n_inner=2048, n_head=4, epochs=1)
    held = []
    for name in ("first", "second", "third"):
        model, _ = train(settings, run / name, tiny_material)
        if not held:
            assert 12 * model.n_trainable() > 20 * MB  # else a model that stays would not be seen
        del model
        held.append(allocated())
    assert held[2] - held[1] < 4 * MB


# Inversion


def test_a_corrector_is_trained_for_two_steps(corrector, run):
    model, curves = corrector
    folder = run / "models" / "mean_decoder_32_corrector"
    done = TrainingRecord.read(folder)
    assert done.steps == 2 and done.stopped_by == "steps" and done.device == CARD.type
    assert is_on_card(model) and model.config.decoder == "correcting"
    assert np.isfinite(curves[["validation_loss", "cosine_0", "cosine_3"]]).all(axis=None)
    assert (curves.cosine_3 >= curves.cosine_0 - 1e-6).all()
    assert is_on_card(InvertibleSentenceModel.from_pretrained(folder))


def test_vectors_are_inverted_by_the_seed(corrector, tiny_encoder, sentences):
    model, before = corrector[0], generator_state()
    vectors = tiny_encoder.sentence_embedding(sentences[:4]).numpy()
    chain = Chain(beam=4, samples=2, rounds=2, kept=2, width=2, children=4, reworded=2, gradient=False)
    first, again, other = (invert(model, vectors, chain, seed) for seed in (0, 0, 1))
    assert len(first) == 4 and all(model.text([one.best])[0] for one in first)
    assert all(one.history[-1][1] >= one.history[0][1] - 1e-2 and -1 <= one.cosine <= 1.01 for one in first)
    assert [one.best for one in first] == [one.best for one in again]
    assert [set(one.cosines) for one in first] == [set(one.cosines) for one in again]
    assert [set(one.cosines) for one in first] != [set(one.cosines) for one in other]
    with_gradient = invert(model, vectors, replace(chain, gradient=True, complements=2))
    assert [len(one.history) > 1 and len(one.cosines) > 4 for one in with_gradient] == [True] * 4
    assert torch.equal(generator_state(), before)


# Language models


def test_the_own_language_model_is_trained_for_two_steps(run, tiny_material, tiny_encoder):
    settings = LanguageModelSettings(
        width=32, n_layer=1, head_size=16, block=32, n_positions=64, max_length=16, steps=2, batch_size=4,
        learning_rate=1e-2, output_std=0.05, sampled_negatives=20,
    )  # fmt: skip
    lm, curve = train_language_model(settings, tiny_material.corpus, tiny_encoder, run)
    done = TrainingRecord.read(run / "language_models" / "lm_32")
    assert done.steps == 2 and done.stopped_by == "steps" and done.device == CARD.type
    assert is_on_card(lm.model) and np.isfinite(curve.validation_loss).all()
    load_causal_lm.cache_clear()
    assert load_causal_lm(str(run / "language_models" / "lm_32")).hash == lm.hash


@pytest.mark.parametrize("sampled_negatives", [0, 20])
def test_vectors_are_fitted_to_a_language_model(tiny_lm, sentences, sampled_negatives):
    ids = tiny_lm.ids(sentences[:4])
    start = start_vectors(tiny_lm, ids, 1)
    assert start.device.type == CARD.type

    def states_of(values, labels):
        words = tiny_lm.embed(labels[:, :-1].clamp(min=0))
        return tiny_lm.states(torch.cat([values, words], dim=1), labels.shape[1])

    found = fit(tiny_lm, states_of, ids, start, steps=200, sampled_negatives=sampled_negatives, progress=False)
    assert found["vectors"].shape == (4, 1, tiny_lm.hidden_size) and np.isfinite(found["vectors"]).all()
    assert found["nats"].sum() < tiny_lm.scores(ids).nats.sum() and (found["steps"] >= 1).all()


# Codes


@pytest.mark.parametrize("name", ["tiny", "shipped"])
def test_a_text_has_the_same_bits(name, request, sentences):
    """The word table is scaled on the encoder's device: the codes of both sides are to agree to the last bit."""
    encoder = request.getfixturevalue("minilm" if name == "shipped" else "tiny_encoder")
    model = (
        shipped("no_vector_384", encoder) if name == "shipped" else request.getfixturevalue("tiny_model")("no_vector")
    )
    twin = on_cpu(model)
    twin.use_encoder(on_cpu(encoder))
    ids = encoder.input_ids(sentences[:8])
    codes = TextCode(model), TextCode(twin)
    there, here = (code.intervals(ids) for code in codes)
    assert there == here
    sizes = [math.ceil(interval.bits) + 1 for interval in there]
    numbers = [(interval.shortest(size), size) for interval, size in zip(there, sizes, strict=True)]
    assert codes[1].read(numbers) == [row[1:] for row in ids]
    assert is_on_card(model)  # the code has a copy of its own


def test_numbers_are_shared_out_alike():
    """Every length is read back from its angles, and each number of the code goes to the same piece."""
    lengths = torch.arange(1, 41, device=CARD)
    assert torch.equal(read_length(length_angles(lengths, 40), 40), lengths)
    values = torch.randn(40, 40, 8, generator=torch.Generator().manual_seed(0))
    there, here = interleave(values.to(CARD), lengths, 96), interleave(values, lengths.cpu(), 96)
    assert torch.equal(there.cpu(), here)
    assert torch.equal(deinterleave(there, lengths, 40, 8).cpu(), deinterleave(here, lengths.cpu(), 40, 8))
