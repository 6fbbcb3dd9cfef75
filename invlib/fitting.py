"""Vectors fitted to the input of a frozen language model by AdamW, many texts side by side; no weight changes."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from invlib import metrics
from invlib.language_model import FrozenLM, padded, token_scores

STEPS, LEARNING_RATE, BETAS, WEIGHT_DECAY = 5000, 1e-2, (0.9, 0.9), 0.01  # Kuratov et al., 2025, section 3


def start_vectors(lm: FrozenLM, ids: Sequence[Sequence[int]], n_vectors: int, seed: int = 0) -> Tensor:
    """(N, n_vectors, H): normal numbers times the standard deviation of the model's input embeddings.

    Drawn for each text from the seed and its ids, so that a text starts alike whatever stands beside it.
    """
    spread, out = lm.embeddings.float().std().item(), []
    for row in ids:
        digest = hashlib.sha256(f"{seed} {list(row)}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        out.append(spread * rng.standard_normal((n_vectors, lm.hidden_size)))
    dtype = torch.promote_types(lm.embeddings.dtype, torch.float32)
    return torch.tensor(np.array(out), dtype=dtype, device=lm.device)


def adamw_step(
    values: Tensor, gradient: Tensor, first: Tensor, second: Tensor, count: Tensor,
    learning_rate: float = LEARNING_RATE, betas: tuple[float, float] = BETAS, weight_decay: float = WEIGHT_DECAY,
) -> None:  # fmt: skip
    """One step of AdamW (Loshchilov & Hutter, 2019) in place, on (B, P, H), each row at its own count.

    first, second (B, P, H): running means of gradient and squared gradient; count (B,): steps done, this one included.
    """
    a, b = betas
    first.lerp_(gradient, 1 - a)
    second.mul_(b).addcmul_(gradient, gradient, value=1 - b)
    count = count.view(-1, 1, 1).to(values.dtype)
    root = (second / (1 - b**count)).sqrt_().add_(1e-8)
    values.mul_(1 - learning_rate * weight_decay).sub_(learning_rate * first / (1 - a**count) / root)


def fit(
    logits_of: Callable[[Tensor, Tensor], Tensor], ids: Sequence[Sequence[int]], start: Tensor, *,
    steps: int = STEPS, learning_rate: float = LEARNING_RATE, betas: tuple[float, float] = BETAS,
    weight_decay: float = WEIGHT_DECAY, batch_size: int = 64, stop: bool = True, progress: bool = True,
    name: str = "fitting", curve: list | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Fit each text's vectors until all its tokens are the most likely ones, or for `steps` steps.

    logits_of(values (B, P, H), labels (B, T)) -> (B, T, V), labels being -100 after a text's end; start (N, P, H).
    A text that is done leaves the batch with its part of the optimiser's state, and the next one takes its place: long
    ones first, so that texts of like length stand together. stop=False: every text has all the steps. curve: a list
    that gets a dict for each text and step: text, step, loss (nats a token), correct.

    Returns vectors (N, P, H), those of most right tokens where a text was never done, and (N,) steps, correct and nats
    (summed over the tokens).
    """
    if not len(ids):
        raise ValueError("there is no text to fit")
    waiting = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    vectors, found = torch.empty_like(start), np.zeros((len(ids), 3))
    state: dict[str, Tensor] = {}
    with tqdm(total=len(ids), desc=name, unit="text", disable=not progress, mininterval=2) as bar:
        while waiting or len(state["text"]):
            room = batch_size - len(state["text"]) if state else batch_size
            if waiting and room:
                joining, waiting = newcomers(waiting[:room], start), waiting[room:]
                state = {k: torch.cat([state[k], v]) for k, v in joining.items()} if state else joining
                labels = padded([ids[i] for i in state["text"].tolist()], start.device)
            values = state["values"].detach().requires_grad_()
            nats, right = token_scores(logits_of(values, labels), labels)
            tokens, correct = (labels >= 0).sum(1), right.sum(1)
            loss = nats.sum(1) / tokens
            if not torch.isfinite(loss).all():
                raise ValueError(f"the loss is not finite; lower learning_rate={learning_rate}")
            with torch.no_grad():
                keep_best(state, values, correct, nats.sum(1))
                done = state["count"] >= steps
                done = done | (correct == tokens) if stop else done
            if curve is not None:
                every = {"text": state["text"], "step": state["count"], "loss": loss, "correct": correct}
                curve += pd.DataFrame({k: v.detach().cpu() for k, v in every.items()}).to_dict("records")
            if not done.all():
                (gradient,) = torch.autograd.grad(loss.sum(), values)
                state["values"] = values.detach()
                steps_now = state["count"] + 1
                adamw_step(
                    state["values"], gradient, state["first"], state["second"], steps_now, learning_rate, betas,
                    weight_decay,
                )  # fmt: skip
            if done.any():
                texts = state["text"][done]
                vectors[texts] = state["best"][done]
                columns = [state[k][done].double() for k in ("count", "best_correct", "best_nats")]
                found[texts.cpu().numpy()] = torch.stack(columns, 1).cpu().numpy()
                state = {k: v[~done] for k, v in state.items()}
                labels = labels[~done]
                labels = labels[:, : int((labels >= 0).sum(1).max())] if len(labels) else labels
                bar.update(int(done.sum()))
            state["count"] = state["count"] + 1
    return {
        "vectors": vectors.float().cpu().numpy() if vectors.dtype != torch.float64 else vectors.cpu().numpy(),
        "steps": found[:, 0].astype(int), "correct": found[:, 1].astype(int), "nats": found[:, 2],
    }  # fmt: skip


def newcomers(texts: list[int], start: Tensor) -> dict[str, Tensor]:
    """The state of texts that join: one row each in every tensor."""
    values = start[texts].clone()
    zero = torch.zeros(len(texts), dtype=torch.int64, device=start.device)
    return {
        "text": torch.tensor(texts, device=start.device), "values": values, "first": torch.zeros_like(values),
        "second": torch.zeros_like(values), "count": zero, "best": values.clone(), "best_correct": zero - 1,
        "best_nats": zero.to(start.dtype),
    }  # fmt: skip


def keep_best(state: dict[str, Tensor], values: Tensor, correct: Tensor, nats: Tensor) -> None:
    """Note in `state` the vectors of most right tokens; among equals those of the lower cross-entropy."""
    better = (correct > state["best_correct"]) | ((correct == state["best_correct"]) & (nats < state["best_nats"]))
    state["best"] = torch.where(better[:, None, None], values, state["best"])
    state["best_correct"] = torch.where(better, correct, state["best_correct"])
    state["best_nats"] = torch.where(better, nats, state["best_nats"])


def table_of(lm: FrozenLM, ids: Sequence[Sequence[int]], found: dict, said: Sequence[Sequence[int]]) -> pd.DataFrame:
    """What came of each text, one row a text.

    tokens (the end token counts), steps, correct and accuracy (over its tokens), nats and nats_alone (cross-entropy
    with the vectors, and under the same model without them), correct_alone, token_gain, information_gain (bits);
    read freely: right, positions, generated_accuracy, exact, as `metrics.generated_matches`; text, generated.
    """
    alone = lm.scores(ids)
    matches = metrics.generated_matches(said, [[lm.bos_token_id, *row] for row in ids], lm)
    tokens = alone.tokens.to_numpy()
    return pd.DataFrame({
        "tokens": tokens, "steps": found["steps"], "correct": found["correct"], "accuracy": found["correct"] / tokens,
        "nats": found["nats"], "nats_alone": alone.nats, "correct_alone": alone.correct,
        "token_gain": found["correct"] - alone.correct,
        "information_gain": metrics.recovered_bits(found["nats"], alone.nats.to_numpy()),
        "right": matches["right"], "positions": matches["positions"],
        "generated_accuracy": matches["right"] / matches["positions"], "exact": matches["exact"],
        "text": lm.text(ids), "generated": lm.text(said),
    })  # fmt: skip
