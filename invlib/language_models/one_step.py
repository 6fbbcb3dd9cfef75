"""One-step generation: one forward pass predicts all tokens of a text from two vectors, e and m.

Mezentsev, Oseledets, "Exploring the Latent Capacity of LLMs for One-Step Text Generation", 2025, arXiv 2505.21189.
The frozen language model reads N input vectors, each of them e or m. Its N outputs are the N tokens.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from invlib.language_models.fit_vectors import (
    BETAS,
    CHECK_EVERY,
    LEARNING_RATE,
    STEPS,
    WEIGHT_DECAY,
    Loss,
    fit,
    fit_table,
    start_vectors,
)
from invlib.language_models.frozen import FrozenLM, padded
from invlib.models.codec import until_end

LAYOUTS = {  # which of N positions hold e; the others hold m
    "first": lambda position, n: position == 0,  # e m m m
    "halves": lambda position, n: position < (n + 1) // 2,  # e e m m, or e e e m m
    "alternating": lambda position, n: position % 2 == 0,  # e m e m
    "alone": lambda position, n: position >= 0,  # e e e e, without m
}


def e_positions(layout: str, lengths: Tensor, n: int) -> Tensor:
    """Where the input vector is e, for the first n positions: (B, n) bool; it is m elsewhere.

    lengths (B,): N, the number of input vectors of each text. ValueError for a layout that is not in LAYOUTS.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](torch.arange(n, device=lengths.device).expand(len(lengths), n), lengths[:, None])


def one_step_states(lm: FrozenLM, e: Tensor, m: Tensor, layout: str, lengths: Tensor, n: int) -> Tensor:
    """States of the first n positions in one forward pass; e (B, 1, H), m (B or 1, 1, H) -> (B, n, H)."""
    return lm.states(torch.where(e_positions(layout, lengths, n)[..., None], e, m), n)


def one_step(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], layout: str = "first", *, shared: bool = False,
    m: np.ndarray | None = None, length: int | None = 40, batch_size: int = 64, seed: int = 0, **options,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # fmt: skip
    """Fit vectors from which one forward pass predicts each text (a string, or ids with the end token).

    Each text has its own e. m is the text's own too; or, with `shared`, one m is fitted for all these texts; or `m`
    (H,) is given and stays as it is. length: N, at least the longest text's tokens; the generated text ends at its
    first end token. None: each text's own number of tokens, which has to be kept with its vectors.
    options (steps, learning_rate, sampled_negatives, progress): see `fit`; curve too, but not with `shared`.

    Returns `fit_table`'s table with kept_numbers (numbers to keep for each text: H, 2 H where m is its own, one more
    without a length), e (N, H) and m (N, H) or, where it is shared or given, (H,).
    """
    ids = lm.ids(texts)
    if shared and m is not None:
        raise ValueError("shared fits an m, and another m is given; choose one of them")
    if (shared or m is not None) and layout == "alone":
        raise ValueError("the layout alone has no m that could be shared or given; choose another layout")
    longest = max(map(len, ids), default=0)
    if not longest <= (length or longest) <= lm.max_length:
        raise ValueError(
            f"the longest text has {longest} tokens, length is {length}, and {lm.name!r} has {lm.max_length} positions"
            "; a text has to fit into the length, and the length into the positions"
        )

    def states_of(e: Tensor, m: Tensor, labels: Tensor) -> Tensor:
        own = (labels >= 0).sum(1)
        lengths = own if length is None else torch.full_like(own, length)
        return one_step_states(lm, e, m, layout, lengths, labels.shape[1])

    own_m = not shared and m is None and layout != "alone"
    start = start_vectors(lm, ids, 1 + own_m, seed)
    options["batch_size"] = batch_size
    if shared:
        found = fit_shared(lm, states_of, ids, start, start_vectors(lm, [[]], 1, seed), **options)
        m = found["shared"]
    else:
        given = None if m is None else torch.as_tensor(m, dtype=start.dtype, device=lm.device).view(1, 1, -1)
        found = fit(
            lm, lambda values, labels: states_of(values[:, :1], values[:, -1:] if given is None else given, labels),
            ids, start, name="one step", **options,
        )  # fmt: skip
        m = found["vectors"][:, -1] if m is None else np.asarray(m)
    e = found["vectors"][:, 0]
    table = fit_table(lm, ids, found, predict(lm, e, m, layout, length or [len(row) for row in ids], batch_size))
    table["kept_numbers"] = lm.hidden_size * (1 + own_m) + (length is None)
    return table, e, m


@torch.no_grad()
def predict(
    lm: FrozenLM, e: np.ndarray, m: np.ndarray, layout: str, length: int | Sequence[int], batch_size: int = 64
) -> list[list[int]]:
    """The ids that one forward pass predicts, up to and with the first end token: e (N, H), m (N, H) or (H,).

    length: N, one for all texts or one for each; without an end token there are N ids.
    """
    lengths = torch.as_tensor(np.broadcast_to(length, len(e)).copy(), device=lm.device)
    e = torch.as_tensor(e).to(lm.device)[:, None]
    m = torch.as_tensor(m).to(lm.device).expand(len(e), -1)[:, None]
    predicted = []
    for part in torch.arange(len(e), device=lm.device).split(batch_size):
        n = int(lengths[part].max())
        ids = lm.head(one_step_states(lm, e[part], m[part], layout, lengths[part], n)).argmax(-1)
        rows = zip(ids.tolist(), lengths[part].tolist(), strict=True)
        predicted += [until_end(row[:own], lm.eos_token_id) for row, own in rows]
    return predicted


def fit_shared(
    lm: FrozenLM, states_of: Callable[[Tensor, Tensor, Tensor], Tensor], ids: Sequence[Sequence[int]], start: Tensor,
    shared: Tensor, *, steps: int = STEPS, learning_rate: float = LEARNING_RATE, batch_size: int = 64,
    sampled_negatives: int = 0, progress: bool = True,
) -> dict[str, np.ndarray]:  # fmt: skip
    """`fit` with one more vector that all texts share, (1, 1, H): no text leaves before all are done.

    Returns vectors, steps, correct and nats as `fit` does, of the check with the most correct tokens, and shared (H,).
    """
    e, m = start.clone().requires_grad_(), shared.clone().requires_grad_()
    optimizer = torch.optim.AdamW([e, m], lr=learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    batches = [
        (part, padded([ids[i] for i in part.tolist()], start.device), Loss(lm, sampled_negatives))
        for part in torch.arange(len(ids), device=start.device).split(batch_size)
    ]
    best: dict[str, np.ndarray] = {"correct": np.array([-1])}
    for step in tqdm(range(steps + 1), desc="one step, m shared", disable=not progress, mininterval=2):
        check = not sampled_negatives or step % CHECK_EVERY == 0 or step == steps
        optimizer.zero_grad()
        found = []
        for part, labels, loss_of in batches:
            loss, checked = loss_of(states_of(e[part], m, labels), labels, check)
            (loss / (labels >= 0).sum(1)).sum().backward()
            found.append(checked)
        if check:
            correct, nats = (torch.cat([part[k] for part in found if part]).cpu().numpy() for k in ("correct", "nats"))
            if correct.sum() > best["correct"].sum():
                best = {
                    "vectors": e.detach().cpu().numpy().copy(), "shared": m.detach().cpu().numpy().ravel().copy(),
                    "steps": np.full(len(ids), step), "correct": correct, "nats": nats,
                }  # fmt: skip
            if correct.sum() == sum(map(len, ids)):
                break
        optimizer.step()
    return best
