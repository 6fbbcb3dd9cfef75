"""One-step generation: a vector e of the text and a vector m, and ONE forward pass says all tokens at once.

Mezentsev, Oseledets, "Exploring the Latent Capacity of LLMs for One-Step Text Generation", 2025, arXiv 2505.21189.
The frozen language model reads N vectors, each of them e or m, and each position says its token by itself.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from invlib.language_models.fit_vectors import (
    BETAS,
    CHECK,
    LEARNING_RATE,
    STEPS,
    WEIGHT_DECAY,
    Loss,
    fit,
    fit_table,
    start_vectors,
)
from invlib.language_models.frozen import FrozenLM, padded
from invlib.models.model import until_end

LAYOUTS = ("first", "halves", "alternating", "alone")


def e_positions(layout: str, lengths: Tensor, n: int) -> Tensor:
    """Which of the first n positions hold e, (B, n) bool; the others hold m. lengths (B,): N of each text.

    first: [e][m]x(N-1). halves: [e]x(N/2)[m]x(N/2), e's the longer one. alternating: [e][m][e][m]... alone: [e]xN,
    so that there is no m.
    """
    place = torch.arange(n, device=lengths.device).expand(len(lengths), n)
    if layout == "first":
        return place == 0
    if layout == "halves":
        return place < (lengths[:, None] + 1) // 2
    if layout == "alternating":
        return place % 2 == 0
    if layout == "alone":
        return place >= 0
    raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")


def one_step_states(lm: FrozenLM, e: Tensor, m: Tensor, layout: str, lengths: Tensor, n: int) -> Tensor:
    """States of the first n positions in one forward pass; e (B, 1, H), m (B or 1, 1, H) -> (B, n, H)."""
    return lm.states(torch.where(e_positions(layout, lengths, n)[..., None], e, m), n)


def one_step(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], layout: str = "first", *, shared: bool = False,
    m: np.ndarray | None = None, length: int | None = 40, steps: int = STEPS, learning_rate: float = LEARNING_RATE,
    batch_size: int = 64, seed: int = 0, sampled_negatives: int = 0, progress: bool = True, curve: list | None = None,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # fmt: skip
    """Vectors from which one forward pass says each text (a string, or ids with the end token).

    e is the text's own always. m is the text's own too; or, with `shared`, learned for all these texts together; or
    given as `m` (H,), learned before on others. length: N, at least the longest text's tokens; what is said is read up
    to its first end token. None: each text's own number of tokens, which then has to be kept too. sampled_negatives,
    curve: see `fit`; no curve with `shared`.

    Returns `fit_table`'s table with kept_numbers (what is kept of each text: H, 2 H where m is its own, one more
    without a length), e (N, H) and m (N, H) or, where it is shared, (H,).
    """
    ids = lm.ids(texts)
    if shared and m is not None:
        raise ValueError("shared learns an m, and m gives one; choose one of them")
    if (shared or m is not None) and layout == "alone":
        raise ValueError("the layout alone has no m that could be shared or given")
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

    options = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size, "progress": progress}
    options["sampled_negatives"] = sampled_negatives
    own_m = not shared and m is None and layout != "alone"
    start = start_vectors(lm, ids, 1 + own_m, seed)
    if shared:
        found = fit_shared(lm, states_of, ids, start, start_vectors(lm, [[]], 1, seed), **options)
        e, m = found["vectors"][:, 0], found["shared"]
    else:
        given = None if m is None else torch.as_tensor(m, dtype=start.dtype, device=lm.device).view(1, 1, -1)
        found = fit(
            lm, lambda values, labels: states_of(values[:, :1], values[:, -1:] if given is None else given, labels),
            ids, start, name="one step", curve=curve, **options,
        )  # fmt: skip
        e, m = found["vectors"][:, 0], found["vectors"][:, -1] if m is None else np.asarray(m)
    said = read(lm, e, m, layout, length or [len(row) for row in ids], batch_size)
    table = fit_table(lm, ids, found, said)
    table["kept_numbers"] = lm.hidden_size * (1 + own_m) + (length is None)
    return table, e, m


@torch.no_grad()
def read(
    lm: FrozenLM, e: np.ndarray, m: np.ndarray, layout: str, length: int | Sequence[int], batch_size: int = 64
) -> list[list[int]]:
    """The ids that one forward pass says, up to and with the first end token: e (N, H), m (N, H) or (H,).

    length: N, one for all or one for each text; what has no end is N tokens long.
    """
    lengths = torch.as_tensor(np.broadcast_to(length, len(e)).copy(), device=lm.device)
    e = torch.as_tensor(e).to(lm.device)[:, None]
    m = torch.as_tensor(m).to(lm.device).expand(len(e), -1)[:, None]
    said = []
    for part in torch.arange(len(e), device=lm.device).split(batch_size):
        n = int(lengths[part].max())
        ids = lm.head(one_step_states(lm, e[part], m[part], layout, lengths[part], n)).argmax(-1).tolist()
        for row, own in zip(ids, lengths[part].tolist(), strict=True):
            said.append(until_end(row[:own], lm.eos_token_id))
    return said


def fit_shared(
    lm: FrozenLM, states_of: Callable[[Tensor, Tensor, Tensor], Tensor], ids: Sequence[Sequence[int]], start: Tensor,
    shared: Tensor, *, steps: int, learning_rate: float, batch_size: int, sampled_negatives: int, progress: bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """`fit` with one more vector that all texts share, (1, 1, H): no text leaves before all are done.

    Returns vectors, steps, correct and nats as `fit` does, those of the check of most right tokens, and shared (H,).
    """
    e, m = start.clone().requires_grad_(), shared.clone().requires_grad_()
    optimizer = torch.optim.AdamW([e, m], lr=learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    parts = torch.arange(len(ids), device=start.device).split(batch_size)
    every = [padded([ids[i] for i in part.tolist()], start.device) for part in parts]
    losses = [Loss(lm, sampled_negatives) for _ in parts]
    best = {"correct": np.array([-1])}
    for step in tqdm(range(steps + 1), desc="one step, m shared", disable=not progress, mininterval=2):
        check = not sampled_negatives or step % CHECK == 0 or step == steps
        optimizer.zero_grad()
        sums = []
        for part, labels, loss_of in zip(parts, every, losses, strict=True):
            loss, found = loss_of(states_of(e[part], m, labels), labels, check)
            (loss / (labels >= 0).sum(1)).sum().backward()
            sums.append(found)
        if check:
            correct, nats = (torch.cat([part[k] for part in sums]).cpu().numpy() for k in ("correct", "nats"))
            if correct.sum() > best["correct"].sum():
                best = {
                    "vectors": e.detach().cpu().numpy().copy(), "shared": m.detach().cpu().numpy().ravel().copy(),
                    "steps": np.full(len(ids), step), "correct": correct.astype(int), "nats": nats,
                }  # fmt: skip
            if correct.sum() == sum(map(len, ids)):
                break
        optimizer.step()
    return best
