"""The project's own causal LM is trained, kept and resumed like any model; any other is loaded frozen."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM, set_seed

from invlib import paths
from invlib.encoders import hub
from invlib.language_models import own
from invlib.language_models.cramming import cram, texts_of_length
from invlib.language_models.frozen import load_causal_lm, padded
from invlib.language_models.own import (
    LanguageModelTrainer,
    find_language_models,
    load_language_models,
    pack_blocks,
    train_language_model,
)
from invlib.language_models.own_network import (
    LanguageModelSettings,
    fresh_model,
    init_layers,
    init_tables,
    language_model_settings,
    untrained_language_model,
)
from invlib.settings import Settings
from invlib.training.record import TrainingRecord

TINY = LanguageModelSettings(
    width=32, n_layer=1, head_size=16, block=32, n_positions=64, max_length=16, minutes=None, epochs=3, batch_size=4,
    learning_rate=1e-2, output_std=0.05,
)  # fmt: skip


class Killed(BaseException):
    """A kill: no code of the package catches it."""


@pytest.fixture
def trainings(monkeypatch):
    """A list that grows at each training that is really begun."""
    begun, real = [], LanguageModelTrainer.train

    def counted(self, *args, **more):
        begun.append(more.get("resume_from_checkpoint"))
        return real(self, *args, **more)

    monkeypatch.setattr(LanguageModelTrainer, "train", counted)
    return begun


@pytest.fixture
def made(run, tiny_material, tiny_encoder):
    """made(folder, **changes) -> the trained model and its curve."""

    def train(name: str = "a", **changes):
        return train_language_model(replace(TINY, **changes), tiny_material.corpus, tiny_encoder, run / name)

    return train


def test_blocks_begin_with_a_text_and_lose_only_its_end():
    ids = [[1, 5, 2], [1, 6, 6, 6, 2], [1, 7, 2], [1, 8, 2]]
    assert pack_blocks(ids, 5).tolist() == [[1, 5, 2, 1, 6], [1, 7, 2, 1, 8]]
    assert pack_blocks(ids, 50).tolist() == [sum(ids, [])]  # too few for a block: all there is


def test_a_run_leaves_a_folder_that_transformers_loads(made, run, tiny_material, tiny_encoder):
    lm, curve = made()
    folder = run / "a" / "language_models" / "lm_32"
    assert {"config.json", "model.safetensors", "training.json", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "checkpoints").exists()
    assert list(curve.columns) == ["epoch", "step", "minutes", "train_loss", "validation_loss", "accuracy"]
    assert len(curve) == 3 and curve.notna().all(axis=None)
    assert curve.validation_loss.is_monotonic_decreasing
    pd.testing.assert_frame_equal(pd.read_csv(run / "a" / "curves" / "lm_32.csv"), curve)
    record = TrainingRecord.read(folder)
    assert record.stopped_by == "epochs" and record.epochs == 3 and record.steps == curve.step.iloc[-1]
    assert record.identity.data_hash == "0123456789ab" and record.identity.settings["width"] == 32
    assert (record.cut_headlines, record.train_headlines) == (0, 40)
    assert record.validation_loss == pytest.approx(curve.validation_loss.min())
    assert record.tokens_seen == 3 * record.tokens > 0
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert "lm_32 done" in (run / "a" / "log.txt").read_text()
    model, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert words.get_vocab() == tiny_encoder.tokenizer.get_vocab() and model.config.model_type == "gpt_neox"
    assert torch.equal(model.get_output_embeddings().weight, lm.model.get_output_embeddings().weight)
    assert lm.hidden_size == 32 and lm.eos_token_id == tiny_encoder.eos_token_id


def test_unchanged_settings_load_and_changed_ones_train(made, trainings, run):
    first, curve = made()
    again, same = made()
    assert len(trainings) == 1
    assert first.hash == again.hash
    pd.testing.assert_frame_equal(curve, same)
    other, _ = made(learning_rate=5e-3)
    assert len(trainings) == 2 and other.hash != first.hash
    assert load_causal_lm(str(run / "a" / "language_models" / "lm_32")).hash == other.hash  # no older one is kept
    made(variant="second", epochs=1)
    assert TrainingRecord.read(run / "a" / "language_models" / "lm_32_second").epochs == 1


def test_an_older_record_is_removed_before_new_weights_are_written(made, run, monkeypatch):
    made()

    def killed(*_):
        raise Killed

    monkeypatch.setattr(TrainingRecord, "write", killed)  # after the weights
    with pytest.raises(Killed):
        made(learning_rate=5e-3)
    assert TrainingRecord.find(run / "a" / "language_models" / "lm_32") is None


@pytest.fixture
def cut(made, run, monkeypatch):
    """The folder of a training that was killed in its second epoch."""
    real = own.Clock

    class Mortal(real):
        def on_step_end(self, args, state, control, **more):
            if state.epoch > 1.2:
                raise Killed
            return super().on_step_end(args, state, control, **more)

    with monkeypatch.context() as patch:
        patch.setattr(own, "Clock", Mortal)
        with pytest.raises(Killed):
            made("cut")
    return run / "cut" / "language_models" / "lm_32"


def test_a_run_that_was_killed_ends_with_the_same_weights(made, run, cut, trainings):
    made("whole")
    torch.manual_seed(99)  # whatever the process did before
    _, resumed = made("cut")
    assert trainings[-1] is not None and len(resumed) == 3
    whole, again = (
        load_file(folder / "model.safetensors") for folder in (run / "whole" / "language_models" / "lm_32", cut)
    )
    assert whole.keys() == again.keys() and all(torch.equal(whole[k], again[k]) for k in whole)


def test_a_checkpoint_of_other_weights_is_not_taken_up(made, cut, trainings):
    (checkpoint,) = cut.glob("checkpoints/*/model.safetensors")
    renamed = {name.replace("gpt_neox", "older"): weight for name, weight in load_file(checkpoint).items()}
    save_file(renamed, checkpoint, metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="of another version of the model"):
        made("cut")
    assert trainings == [None]


def test_the_best_epoch_is_kept_whole(made, tiny_material):
    lm, curve = made(epochs=60, learning_rate=2e-2)
    best = curve.validation_loss.idxmin()
    assert best < len(curve) - 1  # it was stopped after it had been better
    found = lm.scores(list(tiny_material.corpus.splits["validation"]["text"]))
    assert found.nats.sum() / found.tokens.sum() == pytest.approx(curve.validation_loss[best], rel=1e-3)


def test_time_or_steps_end_a_training(made, run):
    made("time", minutes=1e-4, epochs=50)
    made("steps", epochs=50, steps=7)
    time, steps = (TrainingRecord.read(run / k / "language_models" / "lm_32") for k in ("time", "steps"))
    assert time.stopped_by == "time" and time.epochs < 1
    assert steps.stopped_by == "steps" and steps.steps == 7


def test_headlines_that_are_cut_are_counted(made, run, tiny_material, tiny_encoder):
    made(max_length=6, epochs=1)
    long = sum(len(row) > 6 for row in tiny_encoder.input_ids(tiny_material.corpus.splits["train"]["text"]))
    assert 0 < long < 40 and TrainingRecord.read(run / "a" / "language_models" / "lm_32").cut_headlines == long
    assert f"{long} headlines cut" in (run / "a" / "log.txt").read_text()


def test_weights_come_from_the_settings_seed_and_torchs_own_generator_stays(made, tiny_encoder):
    settings = replace(TINY, seed=3)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    model = fresh_model(settings, tiny_encoder)
    assert torch.equal(torch.get_rng_state(), state)
    made(epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    set_seed(3)
    theirs = GPTNeoXForCausalLM(model.config)
    init_layers(theirs, settings.weight_gain, settings.query_bias_std)
    init_tables(theirs, tiny_encoder.word_embeddings.float(), settings.input_std, settings.output_std)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in model.state_dict().items())
    assert not torch.equal(fresh_model(TINY, tiny_encoder).gpt_neox.layers[0].mlp.dense_h_to_4h.weight,
                           model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight)  # fmt: skip


def test_a_loaded_model_is_frozen_and_knows_its_tokens(tiny_lm, tiny_encoder):
    assert not tiny_lm.model.training and not any(p.requires_grad for p in tiny_lm.model.parameters())
    (ids,) = tiny_lm.ids(["oil rises"])
    assert ids == [*tiny_encoder.tokenizer("oil rises")["input_ids"][1:]]  # pieces and [SEP], no [CLS]
    assert tiny_lm.text([ids]) == ["oil rises"]
    assert tiny_lm.ids([[5, 6]]) == [[5, 6]]
    for bad, message in (
        (["oil", " "], "text 1 is empty"), ("oil", "got one str; write"), ({"a": "oil"}, "got a dict"),
        (["a \ud800"], "lone surrogate"), (pd.DataFrame({"text": ["oil"]}), "got a DataFrame"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            tiny_lm.ids(bad)


def test_a_special_token_that_is_typed_is_text(tiny_lm, tiny_encoder):
    own = untrained_language_model(TINY, tiny_encoder)
    for lm in (tiny_lm, own):
        for mark in ("[SEP]", "[CLS]", "[PAD]", "[UNK]", "[MASK]"):
            (ids,) = lm.ids([f"oil {mark} rises"])
            special = {lm.tokenizer.convert_tokens_to_ids(mark)} - {lm.unk_token_id}  # "[" is no word of the tiny one
            assert len(ids) > 4 and not special & set(ids[:-1]) and ids[-1] == lm.eos_token_id
        made = [k for text in texts_of_length(lm, ["oil [SEP] rises"], 9, 1) for k in text]
        assert made.count(lm.eos_token_id) == 1


@pytest.mark.parametrize("text", ["", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", None])
def test_damaged_weights_are_named(tiny_lm_folder, tmp_path, text):
    folder = shutil.copytree(tiny_lm_folder, tmp_path / "lm")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000] if text is None else text.encode())
    with pytest.raises(OSError, match=r"model\.safetensors is"):
        load_causal_lm(str(folder))


def test_unknown_models_are_named(monkeypatch, tmp_path, tiny_folder):
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    with pytest.raises(FileNotFoundError, match="language model 'nobody/no-model'.*the project's own"):
        load_causal_lm("nobody/no-model")
    with pytest.raises(FileNotFoundError, match="no config.json; give the folder of a saved language model"):
        load_causal_lm(str(tmp_path))
    with pytest.raises(ValueError, match="is no causal language model"):
        load_causal_lm(tiny_folder)  # BERT reads what comes after


def test_a_model_that_scales_its_logits_is_refused(tiny_lm_folder, monkeypatch):
    """What is fitted would be fitted to other logits than the model's."""
    real = type(load_causal_lm(tiny_lm_folder).model).forward

    def capped(self, *args, **more):
        out = real(self, *args, **more)
        out.logits = 3 * torch.tanh(out.logits / 3)
        return out

    monkeypatch.setattr(type(load_causal_lm(tiny_lm_folder).model), "forward", capped)
    load_causal_lm.cache_clear()
    with pytest.raises(ValueError, match="by more than one linear layer"):
        load_causal_lm(tiny_lm_folder)
    load_causal_lm.cache_clear()


@pytest.mark.parametrize("width", [16, 32, 64])
def test_the_word_tables_are_the_encoders_and_stay_frozen(made, tiny_encoder, width):
    """As wide as the encoder, or wider, they keep the words' inner products; narrower, the principal components'."""
    words = tiny_encoder.word_embeddings.float()
    lm, _ = made(width=width, epochs=1)
    u, strength, _ = torch.linalg.svd(words - words.mean(0), full_matrices=False)
    k = min(width, words.shape[1])
    expected = (u[:, :k] * strength[:k] ** 2) @ u[:, :k].T
    tables = (lm.embeddings, TINY.input_std), (lm.model.get_output_embeddings().weight, TINY.output_std)
    for table, std in tables:
        assert table.std().item() == pytest.approx(std, rel=1e-3)
        products = table[:, :k] @ table[:, :k].T
        torch.testing.assert_close(products / products.trace(), expected / expected.trace(), atol=1e-5, rtol=1e-2)


def test_a_fresh_model_has_the_settings_shape_and_start(tiny_encoder):
    """Every weight keeps its inputs' variance; the queries have a bias, keys and values none."""
    settings = replace(TINY, query_bias_std=3.0, weight_gain=2.0, parallel_residual=True, rope_theta=50.0)
    model = fresh_model(settings, tiny_encoder)
    (layer,) = model.gpt_neox.layers
    query, key, value = layer.attention.query_key_value.bias.view(2, 3, 16).unbind(1)
    assert query.std().item() == pytest.approx(3, rel=0.5) and not key.any() and not value.any()
    linears = [m for m in layer.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 4
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(2 * linear.in_features**-0.5, rel=0.1)
    assert model.config.use_parallel_residual and not fresh_model(TINY, tiny_encoder).config.use_parallel_residual
    rotary = model.config.rope_parameters
    assert rotary["rope_theta"] == 50 and rotary["partial_rotary_factor"] == 1
    with pytest.raises(ValueError, match="24 wide can't have heads of 16"):
        fresh_model(replace(TINY, width=24), tiny_encoder)


def test_a_position_reads_more_or_less_of_the_vector_by_its_distance(tiny_encoder):
    """With biased queries the attention to the first position differs between positions, whatever the words are."""

    def attention_of_same_words(query_bias_std):
        model = fresh_model(replace(TINY, query_bias_std=query_bias_std, weight_gain=0.1), tiny_encoder)
        model.set_attn_implementation("eager")
        words = model.get_input_embeddings()(torch.full((1, 12), 7))
        (heads,) = model(inputs_embeds=words, output_attentions=True).attentions
        shares = heads[0, :, -1]  # of the last position, (heads, 12)
        return (shares.max(-1).values / shares.min(-1).values).mean().item()

    assert attention_of_same_words(40.0) > 1.5 > 1.1 > attention_of_same_words(0.0)


def test_one_vector_moves_an_untrained_network_from_this_start_and_not_from_the_usual(tiny_encoder, sentences):
    """Seven word pieces each; the usual start has small weights and words, no bias, and its MLP beside attention."""
    good = replace(TINY, width=64, n_layer=2, output_std=0.5)
    usual = {"weight_gain": 0.15, "query_bias_std": 0.0, "input_std": 0.02, "output_std": 0.02}
    network, other = (untrained_language_model(replace(good, **changes), tiny_encoder) for changes in ({}, usual))
    texts = [row[:7] for row in network.ids(sentences[:8]) if len(row) >= 7]
    moved, held = (cram(lm, texts, steps=150, progress=False)[0]["accuracy"].mean() for lm in (network, other))
    assert len(texts) > 3 and moved > 0.9 and held < 0.6


def test_training_begins_with_the_untrained_control(made, tiny_encoder, monkeypatch):
    begun = []
    monkeypatch.setattr(
        LanguageModelTrainer, "train",
        lambda self, **_: begun.append({k: v.clone() for k, v in self.model.state_dict().items()}) or 1 / 0,
    )  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        made()
    control = untrained_language_model(TINY, tiny_encoder).model.state_dict()
    assert control.keys() == begun[0].keys()
    assert all(torch.equal(value, begun[0][key]) for key, value in control.items())


def test_the_training_loss_is_the_models_own_on_average(tiny_encoder):
    model = fresh_model(TINY, tiny_encoder).eval()
    blocks = torch.randint(5, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": blocks, "labels": blocks}
    trainer = SimpleNamespace(sampled_negatives=5)
    with torch.no_grad():
        torch.manual_seed(0)
        sampled = [LanguageModelTrainer.compute_loss(trainer, model, batch).item() for _ in range(200)]
        assert np.mean(sampled) == pytest.approx(model(**batch).loss.item(), rel=0.01) and np.std(sampled) > 0


def test_a_run_finds_its_language_models_or_a_named_one(made, run, tiny_lm_folder):
    made("a", width=64, variant=None)
    settings = Settings(lm_widths=(64,), lm_steps=30, minutes=3.0, n_validation=7)
    (own,) = language_model_settings(settings)
    assert (own.name, own.width, own.steps, own.minutes, own.n_validation) == ("lm_64", 64, 30, 3.0, 7)
    (long,) = language_model_settings(replace(settings, max_length=600, n_positions=600))
    assert (own.n_positions, long.max_length, long.n_positions) == (512, 600, 600)
    here = run / "a", "0123456789ab"
    assert [lm.hidden_size for lm in load_language_models(settings, *here).values()] == [64]
    named = load_language_models(replace(settings, language_model=tiny_lm_folder), *here)
    assert [lm.hidden_size for lm in named.values()] == [128]
    with pytest.raises(ValueError, match="other headlines .seed 0.*here seed 1"):
        load_language_models(replace(settings, seed=1), *here)
    with pytest.raises(ValueError, match="other headlines"):
        load_language_models(settings, run / "a", "another")
    with pytest.raises(FileNotFoundError, match="no lm_96 in .*03_training"):
        load_language_models(replace(settings, lm_widths=(64, 96)), *here)


def test_without_a_run_the_language_models_are_untrained(tmp_path, tiny_material, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    settings = Settings(lm_widths=(64, 32), max_length=16)
    lms, whose = find_language_models(settings, None, tiny_material.corpus, tiny_material.encoder)
    assert [lm.hidden_size for lm in lms.values()] == [64, 32] and all("untrained" in name for name in lms)
    assert "NO RUN" in whose and "UNTRAINED" in whose
    with pytest.raises(FileNotFoundError, match="mine"):
        find_language_models(settings, "mine", tiny_material.corpus, tiny_material.encoder)


def test_scores_are_the_models_own_and_padding_changes_nothing(sharp_lm, sentences):
    found = sharp_lm.scores(sentences[:6], batch_size=4)
    for text, row in zip(sentences[:6], found.itertuples(), strict=True):
        ids = torch.tensor([[sharp_lm.bos_token_id, *sharp_lm.ids([text])[0]]])
        out = sharp_lm.model(input_ids=ids, labels=ids)
        assert row.tokens == ids.shape[1] - 1
        assert row.nats == pytest.approx(out.loss.item() * row.tokens, rel=1e-5)
        assert row.correct == (out.logits[0, :-1].argmax(-1) == ids[0, 1:]).sum()


def test_greedy_text_after_vectors_is_generates_own(tiny_lm):
    begin = torch.tensor([[tiny_lm.bos_token_id]])
    theirs = tiny_lm.model.generate(input_ids=begin, max_new_tokens=12, do_sample=False, pad_token_id=0)[0, 1:].tolist()
    found = tiny_lm.generate_ids(tiny_lm.embed(begin).expand(3, -1, -1), 12, batch_size=2)
    assert found == [theirs] * 3 and theirs[-1] == tiny_lm.eos_token_id
    assert padded([[4, 5], [6]]).tolist() == [[4, 5], [6, -100]]
