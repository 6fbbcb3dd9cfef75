"""Search: a text is changed at random, piece by piece and word by word, for one that is nearer to the vector.

Black box: the decoder alone says which pieces are tried, and the encoder is only asked for embeddings. White box: the
encoder's gradient names pieces too (HotFlip: Ebrahimi et al., "White-Box Adversarial Examples for Text Classification",
2018). In both, the decoder's probabilities stand against odd words.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from invlib.encoders.frozen import FrozenEncoder
from invlib.inversion.candidates import Ids, rounding

Pieces = dict[Ids, np.ndarray]  # of a text of T pieces: what to try in each place, its end too, (T + 1, ALTERNATIVES)

ALTERNATIVES = 8  # pieces that are tried in one place
TOGETHER = 64  # texts whose alternatives are asked for at once
PRIOR = 0.3  # weight of a piece's log-probability beside its gain of cosine, counted in standard deviations over pieces
EXCHANGE, PUT_IN, LEAVE_OUT, MOVE = 0.35, 0.47, 0.57, 0.9  # shares of the changes, added up; the rest cross two texts


def changes(
    model, target: np.ndarray, texts: Sequence[Sequence[Ids]], children: int, gradient: bool, rng: np.random.Generator,
    joined: bool = False, known: Sequence[Pieces] | None = None,
) -> list[list[Ids]]:  # fmt: skip
    """For each target (N, H) texts that differ from one of its own by one change, `children` of each, without doubles.

    texts: those of each target, the best first. gradient: whether the encoder's gradient is asked (white box).
    joined: where two texts cross, any end of the other may follow, so that a text may become longer. known: for each
    target the pieces to try in its texts, as far as they were asked for; those of new texts are added.
    """
    owners = [(i, text) for i, own in enumerate(texts) for text in own if text]
    drawn = []  # number of the text, what is done to it, and where
    for k, (_, text) in enumerate(owners):
        for way in rng.random(children):
            puts_in = EXCHANGE <= way < PUT_IN  # at the end too
            drawn.append((k, way, int(rng.integers(len(text) + puts_in))))
    known = [{} for _ in texts] if known is None else known
    changed = {k for k, way, _ in drawn if way < PUT_IN}  # these need new pieces
    fresh = [owners[k] for k in sorted(changed) if owners[k][1] not in known[owners[k][0]]]
    found = alternatives(model, target[[i for i, _ in fresh]], [text for _, text in fresh], gradient)
    for (i, text), pieces in zip(fresh, found, strict=True):
        known[i][text] = pieces
    continues, longest = model.encoder.continues_word().numpy(), model.config.max_length - 2
    made: list[dict[Ids, None]] = [{} for _ in texts]
    for k, way, t in drawn:
        i, text = owners[k]
        if way < PUT_IN:
            piece = int(known[i][text][t, min(int(rng.exponential(2)), ALTERNATIVES - 1)])
            new = (*text[:t], piece, *text[t + 1 if way < EXCHANGE else t :])
        else:
            new = rearranged(text, t, way, texts[i], continues, rng, joined)
        made[i][new[:longest]] = None
    return [[text for text in own if text] for own in made]


def alternatives(model, target: np.ndarray, texts: Sequence[Ids], gradient: bool) -> list[np.ndarray]:
    """The pieces to try in each place of texts, their ends too, the best first: (T + 1, ALTERNATIVES) for each.

    target (N, H): of each text; gradient: whether the encoder's gradient is asked.
    """
    c, made = model.config, list[np.ndarray]()
    for start in range(0, len(texts), TOGETHER):
        part = texts[start : start + TOGETHER]
        batch = model.encoder.pad([[c.bos_token_id, *text, c.eos_token_id] for text in part])
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        z = torch.from_numpy(target[start : start + TOGETHER]).to(model.device)
        rows, columns = mask[:, 1:].nonzero(as_tuple=True)
        with torch.no_grad():
            states = model.decoder.decode_states(z.to(model.dtype), ids[:, :-1])[rows, columns]
            scores = model.logits(states).float().log_softmax(-1)
        if gradient:
            gain = gradient_gain(model, z, ids, mask, rows, columns)
            scores = gain / gain.std(-1, keepdim=True).clamp(min=1e-9) + PRIOR * scores
        scores[:, not_ordinary(model.encoder).to(scores.device)] = -torch.inf
        best = scores.topk(ALTERNATIVES, dim=-1).indices.cpu().numpy()
        made += np.split(best, np.cumsum([len(text) + 1 for text in part])[:-1])
    return made


@lru_cache(maxsize=4)
def not_ordinary(encoder: FrozenEncoder) -> Tensor:
    """Special and unused word pieces, which no text is made of, (V,) bool."""
    found = torch.ones(encoder.vocab_size, dtype=torch.bool)
    found[torch.from_numpy(encoder.ordinary_pieces())] = False
    return found


def gradient_gain(model, z: Tensor, ids: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What each piece in a place would add to the cosine with z (B, H), to first order: (R, V).

    ids, mask (B, T): texts with special tokens; rows, columns (R,): the text's number, and the place after [CLS].
    """
    encoder, table = model.encoder, model.encoder.word_embeddings.detach()
    with torch.enable_grad():
        words = table[ids].clone().requires_grad_(True)
        with rounding(model):
            states = encoder.model(inputs_embeds=words, attention_mask=mask).last_hidden_state
        pooled = encoder.pool(states.float(), mask)
        F.cosine_similarity(pooled, z, dim=-1).sum().backward()
    gradient = words.grad[:, 1:][rows, columns]  # (R, H)
    return gradient @ table.T - (gradient * table[ids[:, 1:][rows, columns]]).sum(-1, keepdim=True)


def rearranged(
    text: Ids, t: int, way: float, others: Sequence[Ids], continues: np.ndarray, rng: np.random.Generator,
    joined: bool = False,
) -> Ids:  # fmt: skip
    """The text without piece t, with a stretch of words elsewhere, or with the end of another: `way` says which."""
    if way < LEAVE_OUT:
        return (*text[:t], *text[t + 1 :])
    starts = word_starts(text, continues)
    if way < MOVE and len(starts) > 1:
        n = int(rng.integers(len(starts)))
        first, last = starts[n], [*starts, len(text)][min(n + 1 + int(rng.exponential(1)), len(starts))]
        rest = (*text[:first], *text[last:])
        to = [*word_starts(rest, continues), len(rest)]
        at = to[int(rng.integers(len(to)))]
        return (*rest[:at], *text[first:last], *rest[at:])
    other = others[int(rng.integers(len(others)))] or text
    if joined:
        ends, starts = [*starts[1:], len(text)], word_starts(other, continues)
        return (*text[: ends[int(rng.integers(len(ends)))]], *other[starts[int(rng.integers(len(starts)))] :])
    cut = starts[int(rng.integers(len(starts)))]
    return (*text[:cut], *other[min(cut, len(other)) :])


def word_starts(text: Ids, continues: np.ndarray) -> list[int]:
    """The places in which a word begins; the first one always."""
    return [k for k in range(len(text)) if not k or not continues[text[k]]]
