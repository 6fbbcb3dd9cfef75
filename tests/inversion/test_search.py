"""Search: which pieces are tried where, and what a change may do to a text."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from invlib.encoders.recombined import words_of
from invlib.inversion import search
from invlib.inversion.candidates import embed
from invlib.inversion.search import ALTERNATIVES, alternatives, changes, gradient_gain, rearranged, word_starts

LEAVE_OUT, MOVE, CROSS = search.PUT_IN, search.LEAVE_OUT, search.MOVE  # numbers that say so


@pytest.fixture
def targets(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def wordy(tiny_encoder) -> tuple[int, ...]:
    """A text with words of one, three, one, six and two pieces."""
    return tuple(tiny_encoder.input_ids(["gold cab falls jabcac ja"])[0][1:-1])


@pytest.fixture
def continues(tiny_encoder):
    return tiny_encoder.continues_word().numpy()


def padded(model, texts) -> list[torch.Tensor]:
    """input_ids and attention_mask, (B, T), on the model's device."""
    c = model.config
    batch = model.encoder.pad([[c.bos_token_id, *text, c.eos_token_id] for text in texts])
    return [batch[key].to(model.device) for key in ("input_ids", "attention_mask")]


def every_place(texts) -> list[tuple[int, int]]:
    return [(k, t) for k, text in enumerate(texts) for t in range(len(text))]


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# The gradient


def test_the_gain_is_what_a_small_step_towards_a_piece_adds(inverter, texts, targets):
    """Held against a central difference, in two texts of different lengths, the end of one too."""
    encoder, table, step = inverter.encoder, inverter.encoder.word_embeddings.detach(), 2e-3
    ids, mask = padded(inverter, [texts[2], texts[1]])
    z = torch.from_numpy(targets[[5, 7]]).to(inverter.device)
    tried = [(0, 0, 40), (0, 1, 7), (0, 3, 12), (1, 0, 33), (1, 2, 21), (1, 8, 40), (1, 7, 50), (0, 1, 30)]
    rows, places, pieces = torch.tensor(tried, device=inverter.device).T
    with torch.no_grad():  # as the chain calls it
        gain = gradient_gain(inverter, z, ids, mask, rows, places)
    assert gain.shape == (len(tried), inverter.config.vocab_size) and mask[0].sum() < mask[1].sum()

    @torch.no_grad()
    def cosine(words) -> torch.Tensor:
        states = encoder.model(inputs_embeds=words, attention_mask=mask).last_hidden_state
        return F.cosine_similarity(encoder.pool(states, mask), z)

    expected = []
    for row, place, piece in tried:
        towards = torch.zeros(*ids.shape, 32, device=ids.device)
        towards[row, place + 1] = table[piece] - table[ids[row, place + 1]]
        difference = cosine(table[ids] + step * towards) - cosine(table[ids] - step * towards)
        expected.append(difference[row].item() / (2 * step))
    found = gain.gather(1, pieces[:, None])[:, 0].cpu()
    np.testing.assert_allclose(found, expected, atol=2e-4, rtol=0.02)
    assert (found > 0.01).any() and (found < -0.01).any()


def test_what_stands_there_gains_nothing_and_the_encoder_is_as_it_was(inverter, texts, targets):
    ids, mask = padded(inverter, texts[:3])
    rows, places = torch.tensor(every_place(texts[:3]), device=inverter.device).T
    gain = gradient_gain(inverter, torch.from_numpy(targets[5:8]).to(inverter.device), ids, mask, rows, places)
    assert gain.gather(1, ids[:, 1:][rows, places][:, None]).abs().max() < 1e-6 < 1e-3 < gain.abs().amax(1).min()
    assert not any(p.requires_grad or p.grad is not None for p in inverter.encoder.model.parameters())


# The pieces to try


@pytest.mark.parametrize("gradient", [True, False])
def test_each_place_has_its_own_pieces_and_no_special_one(inverter, texts, targets, gradient):
    c = inverter.config
    targets = np.roll(targets, 1, axis=0)  # at its own vector a text's gradient is nothing but rounding
    found = alternatives(inverter, targets, texts, gradient)
    assert [pieces.shape for pieces in found] == [(len(text) + 1, ALTERNATIVES) for text in texts]
    special = {c.bos_token_id, c.eos_token_id, c.pad_token_id}
    every = np.concatenate(found)
    assert all(len(set(row)) == ALTERNATIVES and not special & set(row) for row in every.tolist())
    alone = [alternatives(inverter, targets[k : k + 1], [text], gradient)[0] for k, text in enumerate(texts)]
    assert np.mean(every == np.concatenate(alone)) > 0.95  # but for pieces that are nearly as good
    assert alternatives(inverter, targets[:0], [], gradient) == []


def test_more_texts_than_are_read_at_once_keep_their_order(inverter, texts, targets):
    many, theirs = texts[:3] * 50, np.tile(targets[5:8], (50, 1))
    found = alternatives(inverter, theirs, many, True)
    few = alternatives(inverter, targets[5:8], texts[:3], True)
    assert np.mean(np.concatenate(found) == np.concatenate(few * 50)) > 0.95


def test_a_black_box_tries_what_the_decoder_holds_likely(inverter, texts, targets):
    text, c = texts[2], inverter.config
    found = alternatives(inverter, targets[:3], texts[:3], gradient=False)[2]
    for t in range(len(text)):
        prefix = torch.tensor([[c.bos_token_id, *text[:t]]], device=inverter.device)
        with torch.no_grad():
            states = inverter.decoder.decode_states(torch.from_numpy(targets[2:3]).to(prefix.device), prefix)
        ranked = inverter.logits(states)[0, -1].argsort(descending=True).tolist()
        expected = [i for i in ranked if i not in (c.bos_token_id, c.eos_token_id, c.pad_token_id)]
        assert found[t].tolist() == expected[:ALTERNATIVES]


def test_a_white_box_tries_what_raises_the_cosine(inverter, texts, targets):
    """The pieces that it names gain more than the decoder's, when they are really put there."""
    others = texts[8:]
    before = (embed(inverter, others) * targets[:8]).sum(1)

    def gain(gradient: bool) -> float:
        pieces = alternatives(inverter, targets[:8], others, gradient)
        new = [((*others[k][:t], i, *others[k][t + 1 :]), k) for k, t in every_place(others)
               for i in pieces[k][t, :3].tolist()]  # fmt: skip
        owners = [k for _, k in new]
        return float(((embed(inverter, [text for text, _ in new]) * targets[owners]).sum(1) - before[owners]).mean())

    assert gain(True) > gain(False) + 0.01


def test_the_prior_stands_against_odd_pieces(inverter, texts, targets, monkeypatch):
    found = []
    black = np.concatenate(alternatives(inverter, targets, texts, gradient=False))
    for weight in (0.0, 0.3, 100.0):
        monkeypatch.setattr(search, "PRIOR", weight)
        white = np.concatenate(alternatives(inverter, targets, texts, gradient=True))
        found.append(np.mean([row[0] in likely for row, likely in zip(white, black, strict=True)]))
    assert found[0] < found[1] < found[2] and found[2] > 0.9


# A change


def test_words_begin_where_no_piece_goes_on(wordy, continues):
    starts = word_starts(wordy, continues)
    assert [wordy[a:b] for a, b in zip(starts, [*starts[1:], len(wordy)], strict=True)] == words_of(wordy, continues)
    assert [len(word) for word in words_of(wordy, continues)] == [1, 3, 1, 6, 2]
    assert word_starts(wordy[2:], continues)[0] == 0 and word_starts((), continues) == []


def test_a_piece_is_left_out(wordy, continues):
    for t in range(len(wordy)):
        expected = (*wordy[:t], *wordy[t + 1 :])
        assert rearranged(wordy, t, LEAVE_OUT, [wordy], continues, draw()) == expected


def test_moving_words_never_cuts_one(wordy, continues):
    before, seen = Counter(words_of(wordy, continues)), set()
    for seed in range(400):
        found = rearranged(wordy, 0, MOVE, [wordy], continues, draw(seed))
        assert Counter(words_of(found, continues)) == before
        seen.add(found)
    assert len(seen) > 15  # several words go together too


def test_a_crossed_text_begins_as_itself_and_ends_as_another(wordy, continues):
    other, seen = tuple(range(200, 220)), set()
    for seed in range(100):
        found = rearranged(wordy, 0, CROSS, [other], continues, draw(seed))
        cut = next(t for t, i in enumerate(found) if i >= 200)
        assert found == (*wordy[:cut], *other[cut:])
        seen.add(cut)
    assert seen == set(word_starts(wordy, continues))  # at the beginning of a word


def test_one_word_and_an_empty_other_are_no_error(continues):
    for way in (LEAVE_OUT, MOVE, CROSS):
        assert rearranged((40,), 0, way, [()], continues, draw()) == (() if way == LEAVE_OUT else (40,))


@pytest.mark.parametrize("longer, shares", [(0, (1.0, 1.0)), (1, (0.0, 1.0))])
def test_a_piece_is_exchanged_or_put_in_by_one_for_its_place(
    inverter, wordy, targets, continues, monkeypatch, longer, shares
):
    """The best piece of a place is tried most often, the last ones now and then."""
    monkeypatch.setattr(search, "EXCHANGE", shares[0])
    monkeypatch.setattr(search, "PUT_IN", shares[1])
    text = wordy[:9]

    def pieces(model, target, texts, gradient):
        assert texts == [text] and gradient
        return [1000 + 10 * np.arange(10)[:, None] + np.arange(8)]  # put in at the end too

    monkeypatch.setattr(search, "alternatives", pieces)
    (found,) = changes(inverter, targets[:1], [[text]], 400, True, draw())
    seen = Counter()
    for made in found:
        (at,) = (t for t, i in enumerate(made) if i >= 1000)
        assert (made[at] - 1000) // 10 == at and made == (*text[:at], made[at], *text[at + 1 - longer :])
        seen[(made[at] - 1000) % 10] += 1
    assert len(found) > 40 and set(seen) == set(range(8))
    assert seen[0] == 9 + longer  # without doubles: each place's best once


# All changes


def test_every_target_gets_its_own_changes_without_doubles(inverter, texts, targets):
    owned = [[texts[1], texts[2]], [], [texts[3], ()], [()]]
    found = changes(inverter, targets[:4], owned, 12, True, draw())
    assert found[1] == found[3] == [] and 12 < len(found[0]) <= 24 and 4 < len(found[2]) <= 12
    for own, made in zip(owned, found, strict=True):
        assert len(made) == len(set(made)) and all(1 <= len(text) <= 14 for text in made)
        for text in made:  # all but one piece come from one of its own, or from two that were crossed
            assert sum(i not in {i for o in own for i in o} for i in text) <= 1
    assert found == changes(inverter, targets[:4], owned, 12, True, draw())
    assert found != changes(inverter, targets[:4], owned, 12, True, draw(1))
    assert found != changes(inverter, targets[:4], owned, 12, False, draw())
    assert changes(inverter, targets[:0], [], 12, True, draw()) == []


def test_the_pieces_for_a_text_are_asked_for_once(inverter, texts, targets, monkeypatch):
    """Each target has its own, for the same text too; and they are the same that a first call finds."""
    asked, ask = [], alternatives
    monkeypatch.setattr(
        search, "alternatives", lambda model, target, own, *more: asked.append(own) or ask(model, target, own, *more)
    )
    known: list[dict] = [{}, {}]
    first = changes(inverter, targets[:2], [[texts[1]], [texts[1]]], 12, True, draw(), known=known)
    assert asked == [[texts[1], texts[1]]] and first == changes(
        inverter, targets[:2], [[texts[1]]] * 2, 12, True, draw()
    )
    assert all(own[texts[1]].shape == (len(texts[1]) + 1, ALTERNATIVES) for own in known)
    assert not np.array_equal(known[0][texts[1]], known[1][texts[1]])
    again = changes(inverter, targets[:2], [[texts[1], texts[2]], [texts[1]]], 12, True, draw(), known=known)
    assert asked[2:] == [[texts[2]]] and set(known[0]) == {texts[1], texts[2]} and again[0] != first[0]


def test_every_kind_of_change_is_made(inverter, texts, targets):
    text, other = texts[1], texts[3]
    (found,) = changes(inverter, targets[:1], [[text, other]], 300, False, draw())
    lengths = {len(made) - len(text) for made in found}
    assert {-1, 0, 1} <= lengths
    assert any(Counter(made) == Counter(text) and made != text for made in found)  # moved
    assert any(made[:2] == text[:2] and made[-2:] == other[-2:] for made in found)  # crossed


def test_what_grows_too_long_is_cut(inverter, texts, targets):
    full = (texts[1] * 3)[:14]
    (found,) = changes(inverter, targets[:1], [[full]], 200, False, draw())
    assert max(map(len, found)) == 14 and len(found) > 50


def test_a_word_that_was_exchanged_is_found_again(inverter, texts, targets):
    """By the encoder's gradient and some draws: of sixteen texts, each with one wrong word, most."""
    wrong = [(text[0], 15 if text[1] != 15 else 16, *text[2:]) for text in texts]
    found = changes(inverter, targets, [[text] for text in wrong], 150, True, draw())
    assert np.mean([text in made for text, made in zip(texts, found, strict=True)]) > 0.5
