"""Settings: presets, their overrides, and names of rows."""

import dataclasses
import math
import re

import pytest
import torch

from invlib.presets import read_presets
from invlib.rows import ABLATIONS, ROWS, split_row_name
from invlib.settings import Settings, auto_preset, check, load_preset, row_names, select_row

PRESETS = ("smoke", "cpu", "study", "gpu", "deck")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_its_rows_can_be_built(name):
    from invlib.models.model import model_config

    settings = load_preset(name)
    assert settings.preset == name and settings.rows
    hidden = 768 if name == "deck" else 384
    for row in row_names(settings, hidden):
        chosen = select_row(settings, row)
        assert chosen.name == row
        config = model_config(chosen, hidden_size=hidden)
        assert config.n_embd % config.n_head == 0
        even = (config.embedding_dim - config.prefix_size) % config.slots == 0
        assert config.decoder != "transformer" or config.numbers_per_piece or even
        assert config.max_length <= config.n_positions


def test_compared_rows_get_equal_terms():
    """The deck's rows differ in row and dimension, and in nothing else; hybrid has a training of its own as well.

    But the same decoder, the same steps and the same headlines. mean_decoder, which inverts, has the same decoder.
    """
    settings = load_preset("study")
    rows = [dataclasses.asdict(select_row(settings, name)) for name in row_names(settings, 384)]
    deck = [row for row in rows if row["row"] not in ("hybrid", "mean_decoder")]
    which = {"row": None, "embedding_dim": None}
    assert all(row | which == deck[0] | which for row in deck)
    (hybrid,) = [row for row in rows if row["row"] == "hybrid"]
    own = {"row", "embedding_dim", "encoder_layers", "numbers_per_piece", "vector_noise", "random_sentence_ratio"}
    own |= {"schedule", "learning_rate", "sent_sim_weight"}
    assert {k for k, v in hybrid.items() if v != deck[0][k]} == own
    (inverter,) = [row for row in rows if row["row"] == "mean_decoder"]
    own = {"row", "embedding_dim", "steps", "epochs", "schedule", "sent_sim_weight", "recombined_ratio"}
    assert {k for k, v in inverter.items() if v != deck[0][k]} == own


def test_an_override_wins_and_none_is_no_override():
    plain = load_preset("cpu")
    changed = load_preset("cpu", seed=7, data=None, steps=None, batch_size=3)
    assert (changed.seed, changed.batch_size, changed.steps) == (7, 3, plain.steps)
    assert dataclasses.replace(changed, seed=plain.seed, batch_size=plain.batch_size) == plain


def test_an_override_wins_through_every_door():
    """presets.yaml gives hybrid a rate and `long` steps of its own: what a person gave still counts."""
    run = load_preset("study", rows="hybrid_384_long", steps=10, learning_rate=5e-4, sampled_negatives=77)
    for one in (
        select_row(run, "hybrid_384_long"),
        load_preset("study", row="hybrid", embedding_dim=384, variant="long", steps=10, learning_rate=5e-4,
                    sampled_negatives=77),
    ):  # fmt: skip
        assert (one.steps, one.learning_rate, one.sampled_negatives) == (10, 5e-4, 77)
        assert one.hard_negatives == 4  # and the rest is the row's own
    same = load_preset("study", steps=load_preset("study").steps)  # even where it is what the preset has anyway
    assert select_row(same, "hybrid_384_long").steps == same.steps


@pytest.mark.parametrize("variant", ["lnog", "Long", "long2", "no_nois"])
def test_a_misspelt_variant_trains_nothing(variant):
    known = "unknown variant .*between.*long"
    with pytest.raises(ValueError, match=known):
        load_preset("study", row="hybrid", embedding_dim=384, variant=variant)
    with pytest.raises(ValueError, match=known):
        select_row(load_preset("study"), f"hybrid_384_{variant}")


def test_what_a_variant_may_be():
    study = load_preset("study")
    assert select_row(study, "hybrid_384_long").hard_negatives == 4
    assert select_row(study, "no_vector_768_rnn").name == "no_vector_768_rnn"  # whose decoder it has
    mine = load_preset("study", row="hybrid", embedding_dim=384, variant="mine2", dropout=0.3)  # a setting by name
    assert mine.name == "hybrid_384_mine2"
    with pytest.raises(ValueError, match="unknown variant 'att_pool'"):
        select_row(study, "no_vector_768_att_pool")  # it shares a control, and has none of its own


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_generate": -5}, {"n_generate": 0}, {"n_bootstrap": 0}, {"n_validation": -3}, {"dropout": 1.5},
        {"interpolation_noise_share": 3.0}, {"sampled_negatives": -1}, {"n_head": 3}, {"stop_patience": 0},
        {"weight_decay": -1.0}, {"sent_sim_size": -1}, {"word_embeddings": "ecnoder"}, {"ablations": "plian"},
        {"n_headlines": 5}, {"steps": 0}, {"lm_widths": 33}, {"n_layer": True}, {"rows": 5}, {"rows": [1]},
        {"encoder_layers": 5}, {"lm_widths": [64.5]}, {"lm_widths": "64 wide"}, {"lm_widths": True},
        {"minutes": math.inf}, {"vector_noise": math.inf}, {"learning_rate": math.nan},
    ],
)  # fmt: skip
def test_every_setting_has_its_bounds(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        load_preset("cpu", **wrong)


def test_widths_that_belong_together():
    with pytest.raises(ValueError, match="n_embd 0 is the vector's 386, which n_head 4 can't share"):
        load_preset("cpu", row="att_pool", embedding_dim=386, slots=2, n_embd=0)
    assert load_preset("cpu", row="rnn", embedding_dim=385, n_embd=0).n_embd == 0  # an LSTM has no heads
    for named in ({"row": "att_pool", "embedding_dim": 385}, {"rows": "att_pool_385"}):
        with pytest.raises(ValueError, match="row att_pool_385: 385 .* slots=8; choose a divisor of 385"):
            load_preset("cpu", slots=8, **named)
    assert load_preset("cpu", lm_widths=64).lm_widths == load_preset("cpu", lm_widths="64").lm_widths == (64,)


def test_a_misspelt_setting_in_presets_is_named(monkeypatch):
    presets = read_presets()
    presets["cpu"]["minuts"] = 3
    monkeypatch.setattr("invlib.presets.read_presets", lambda: presets)
    with pytest.raises(ValueError, match="unknown setting minuts"):
        load_preset("cpu")


@pytest.mark.parametrize("wrong, words", [
    ({"slot": 8}, r"unknown setting slot \(did you mean slots\?\); settings are .*seed"),
    ({"preset": "cpuu"}, r"unknown preset 'cpuu' \(did you mean cpu\?\); choose one of smoke"),
    ({"row": "atpool"}, r"setting row is 'atpool' \(did you mean att_pool\?\); it has to be one of rnn"),
    ({"ablations": "plian"}, r"\('plian',\) \(did you mean plain\?\); it has to be one of plain"),
    ({"xyzzy": 8}, "unknown setting xyzzy; settings are"),
])  # fmt: skip
def test_what_is_near_a_misspelt_name_is_suggested(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        load_preset(**{"preset": "cpu", **wrong})
    assert str(error.value).count("multi_query") <= 1  # the rows are listed once


def test_every_default_is_within_its_bounds():
    check(Settings())


def test_rows_may_be_a_string():
    assert load_preset("cpu", rows="rnn_64, att_pool_H").rows == ("rnn_64", "att_pool_H")


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_preset("cpu").seed = 1


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("huge", {}), ["'huge'", *PRESETS]),
        (("cpu", {"widht": 3}), ["widht", "n_embd"]),
        (("cpu", {"rows": ["att_pol_768"]}), ["att_pol_768", "att_pool"]),
        (("cpu", {"rows": ["att_pool"]}), ["att_pool", "its D"]),
        (("cpu", {"row": "transformer", "embedding_dim": 8}), ["'transformer'", "cls_decoder"]),
        (("cpu", {"scorers": "gpt"}), ["'gpt'", "minilm", "deck"]),
        (("cpu", {"n_embd": "wide"}), ["n_embd", "'wide'", "int"]),
        (("cpu", {"seed": 1.5}), ["seed", "1.5"]),
        (("cpu", {"row": "rnn", "embedding_dim": 8, "variant": "lr-1e-3"}), ["variant", "'lr-1e-3'", "letters"]),
    ],
)
def test_what_is_unknown_is_named_beside_what_is_known(arguments, said):
    name, overrides = arguments
    with pytest.raises(ValueError) as error:
        load_preset(name, **overrides)
    for word in said:
        assert word in str(error.value)


def test_auto_is_the_environments_preset_else_the_machines(monkeypatch):
    monkeypatch.setenv("INVLIB_PRESET", "smoke")
    assert auto_preset() == "smoke" and load_preset("auto").preset == "smoke" and load_preset(None).preset == "smoke"
    monkeypatch.delenv("INVLIB_PRESET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_preset().preset == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load_preset().preset == "gpu"


def test_names_of_rows():
    assert split_row_name("encoder_only_1568") == ("encoder_only", 1568, None)
    assert split_row_name("no_vector_64_rnn") == ("no_vector", 64, "rnn")
    assert split_row_name("cls_decoder_H") == ("cls_decoder", "H", None)
    settings = load_preset("cpu", rows=["cls_decoder_H", "att_pool_H_long", "rnn_768"])
    assert row_names(settings, 384) == ["cls_decoder_384", "att_pool_384_long", "rnn_768"]
    with pytest.raises(ValueError, match="hidden_size"):
        select_row(settings, "cls_decoder_H")
    with pytest.raises(ValueError, match="select_row"):
        _ = settings.name


def test_the_table_shows_every_setting_with_its_meaning():
    table = load_preset("cpu").table()
    assert list(table.columns) == ["setting", "value", "meaning"]
    shown = set(table.setting)
    assert {f.name for f in dataclasses.fields(Settings)} - shown == {"row", "embedding_dim", "variant", "given"}
    assert table.meaning.str.len().min() > 5
    assert "row" in set(load_preset("cpu", row="rnn", embedding_dim=8).table().setting)


def test_presets_hold_no_setting_that_nothing_reads():
    known = {f.name for f in dataclasses.fields(Settings)}
    for name, values in read_presets().items():
        assert name == "runner" or set(values) - {"per_row"} <= known
        assert all(set(own) <= known for own in values.get("per_row", {}).values())


def test_what_a_row_has_of_its_own_names_a_row_that_can_be():
    """A key that is misspelt would reach no row, and a variant that 07 does not know would stop it half-way."""
    for name, values in read_presets().items():
        for key in values.get("per_row", {}):
            assert re.fullmatch(rf"({'|'.join(ROWS)})(_\d+(_\w+)?)?|\*_\w+", key), key
        assert name in ("common", "runner") or set(load_preset(name).ablations) <= set(ABLATIONS)


def test_a_row_may_have_settings_of_its_own():
    settings = load_preset("deck")
    assert select_row(settings, "att_pool_768").batch_size == 128
    assert select_row(settings, "att_pool_2560").batch_size == 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0}, {"minutes": -1.0}, {"seed": 2**40}, {"max_length": 100}, {"rows": "att_pool_100"},
        {"prefix_size": 0}, {"code_weight": 0.0}, {"sent_sim_every": 0},
    ],
)  # fmt: skip
def test_a_value_that_no_run_can_use_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("s")):
        load_preset("cpu", **wrong)


@pytest.fixture
def presets(monkeypatch):
    """presets.yaml in the place of the workbook's: what a row has of its own, at every level."""
    per_row = {
        "hybrid": {"learning_rate": 1.0, "minutes": 1.0, "encoder_layers": ["word", "last"], "queries": 5},
        "hybrid_64": {"learning_rate": 2.0, "minutes": 2.0},
        "*_long": {"minutes": 3.0},
        "hybrid_64_long": {"queries": 7},
    }
    both = {"common": {"per_row": per_row}, "cpu": {"per_row": {"hybrid": {"queries": 6}}}, "study": {}}
    monkeypatch.setattr("invlib.presets.read_presets", lambda: both)


def test_what_is_closer_to_the_row_wins(presets):
    def own(preset, name):
        s = select_row(load_preset(preset), name)
        return s.learning_rate, s.minutes, s.queries, s.encoder_layers

    assert own("study", "hybrid_32") == (1.0, 1.0, 5, ("word", "last"))
    assert own("study", "hybrid_64") == (2.0, 2.0, 5, ("word", "last"))
    assert own("study", "hybrid_64_long") == (2.0, 3.0, 7, ("word", "last"))
    assert own("cpu", "hybrid_32")[2] == 6  # a preset's own
    assert own("study", "att_pool_32") == (Settings().learning_rate, None, 32, ("last",))


def test_a_row_named_at_once_has_its_own_values_and_what_is_given_wins(presets):
    s = load_preset("study", row="hybrid", embedding_dim=64, queries=9)
    assert (s.queries, s.learning_rate, s.encoder_layers) == (9, 2.0, ("word", "last"))


def test_layers_and_schedules_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="encoder_layers is .'middle',.*word, last"):
        load_preset("smoke", encoder_layers="middle")
    with pytest.raises(ValueError, match="schedule is 'linear'.*plateau, cosine"):
        load_preset("smoke", schedule="linear")
    with pytest.raises(ValueError, match="interpolation_noise_share is -0.5"):
        load_preset("smoke", interpolation_noise_share=-0.5)
    assert load_preset("smoke", encoder_layers="word last").encoder_layers == ("word", "last")
