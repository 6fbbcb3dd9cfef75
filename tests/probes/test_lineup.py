"""Who stands on the card: the run's models, the repository's where the encoder is theirs, and every control."""

import shutil
from dataclasses import replace

from invlib.probes.lineup import lineup, packed
from invlib.probes.robustness import prefix_of_size
from invlib.training.train import train

CONTROLS = [
    "packed_ids_384", "packed_ids_768", "arithmetic_code_384", "nearest headline", "splice by hand",
    "one of the two headlines",
]  # fmt: skip


def test_a_runs_models_stand_before_the_controls(run, tiny_settings, tiny_material, card_data):
    assert list(lineup(run, tiny_settings, tiny_material, card_data)) == CONTROLS  # another encoder's are left out
    train(replace(tiny_settings, epochs=1), run, tiny_material)
    train(replace(tiny_settings, epochs=1, row="multi_query"), run, tiny_material, purpose="ablation")
    searching = replace(tiny_settings, n_card_searched=2, inversion_rounds=1)
    found = lineup(run, searching, tiny_material, card_data)
    assert list(found) == ["att_pool_32", "recombined headlines", *CONTROLS]
    assert [name for name, system in found.items() if system.costly] == ["recombined headlines"]
    shutil.copytree(run / "models" / "att_pool_32", run / "models" / "att_pool_32_too")
    every = [name for name in lineup(run, tiny_settings, tiny_material, card_data) if name not in CONTROLS]
    assert every == ["att_pool_32", "att_pool_32_too"]
    assert list(lineup(run, replace(tiny_settings, n_card_models=1), tiny_material, card_data)) == [every[0], *CONTROLS]
    texts = card_data.test[:2]
    for name in ("packed_ids_384", "arithmetic_code_384"):
        assert found[name].decode(found[name].encode(texts)) == texts


def test_packed_ids_have_as_few_bits_as_hold_a_text(tiny_settings, tiny_material):
    made = packed(384, prefix_of_size(tiny_material, 384), tiny_settings, tiny_material)
    assert made.capacity == tiny_settings.max_length - 1 and made.bits == 1
