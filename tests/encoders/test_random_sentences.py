"""Random sentences: every word piece as often as any other, lengths as real ones have."""

import numpy as np

from invlib.encoders.random_sentences import random_sentences


def test_ordinary_pieces_are_all_but_the_special_and_unused_ones(minilm):
    pieces = minilm.ordinary_pieces()
    names = minilm.tokenizer.convert_ids_to_tokens(pieces.tolist())
    assert not [n for n in names if n in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]") or n.startswith("[unused")]
    assert {"the", "##s", "[", "]"} <= set(names) and len(pieces) > 29_000


def test_random_sentences_are_reproducible_and_even(tiny_material):
    states = tiny_material.states["train"]
    real = [states.input_ids(i) for i in range(len(states))]
    made = random_sentences(real, tiny_material.encoder, 400, seed=3)
    assert (
        made
        == random_sentences(real, tiny_material.encoder, 400, seed=3)
        != random_sentences(real, tiny_material.encoder, 400, seed=4)
    )
    encoder, lengths = tiny_material.encoder, {len(ids) for ids in real}
    assert len(made) == 400 and {len(ids) for ids in made} <= lengths
    assert all(ids[0] == encoder.bos_token_id and ids[-1] == encoder.eos_token_id for ids in made)
    inner = np.concatenate([ids[1:-1] for ids in made[::2]])
    pieces = encoder.ordinary_pieces()
    assert set(inner) <= set(pieces.tolist())
    counts = np.array([(inner == piece).sum() for piece in pieces])
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()
    kept = [max(np.mean(np.array(ids) == r) for r in real if len(r) == len(ids)) for ids in made[1::2]]
    assert 0.4 < np.mean(kept) < 0.9  # swapped in part
