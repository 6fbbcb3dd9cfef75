"""Vectors fitted to the input of a frozen language model by AdamW, many texts side by side; no weight changes."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from invlib.language_models.frozen import FrozenLM, padded
from invlib.measures.intervals import bootstrap
from invlib.measures.text import generated_matches, recovered_bits
from invlib.training.losses import draw_candidates

STEPS, LEARNING_RATE, BETAS, WEIGHT_DECAY = 5000, 1e-2, (0.9, 0.9), 0.01  # Kuratov et al., 2025, section 3
CHECK, RIVALS = 10, 4  # where the loss runs over a sample of the tokens: see `Loss`


def start_vectors(lm: FrozenLM, ids: Sequence[Sequence[int]], n_vectors: int, seed: int | Sequence[int] = 0) -> Tensor:
    """(N, n_vectors, H): normal numbers times the standard deviation of the model's input embeddings.

    Drawn for each text from the seed (one for all, or one for each) and its ids, so that a text starts alike whatever
    stands beside it.
    """
    seeds = [seed] * len(ids) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(ids):
        raise ValueError(f"{len(seeds)} seeds for {len(ids)} texts; give one for all, or one for each")
    spread, out = lm.embeddings.float().std().item(), []
    for row, seed in zip(ids, seeds, strict=True):
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


class Loss:
    """Each text's cross-entropy, over all tokens of the vocabulary or over a sample of them.

    Over all (sampled_negatives=0) is what the papers do. With a vocabulary of 30 522 most of a small model's step goes
    into that. With sampled_negatives=n the loss runs over the texts' own tokens, n others drawn anew at each step
    (corrected for, as in training), and the RIVALS likeliest tokens of each position at the last check. Whether a token is right is
    asked of all tokens always: then at every CHECK-th step.
    """

    def __init__(self, lm: FrozenLM, sampled_negatives: int = 0):
        self.lm, self.sampled_negatives, self.rivals = (
            lm,
            sampled_negatives,
            torch.zeros(0, dtype=torch.int64, device=lm.device),
        )
        self.generator = torch.Generator(lm.device).manual_seed(0)  # the same texts and starts: the same draws

    def __call__(self, states: Tensor, labels: Tensor, check: bool) -> tuple[Tensor, dict[str, Tensor] | None]:
        """states (B, T, H), labels (B, T), -100 after a text's end -> the texts' loss (B,) in nats, summed over tokens.

        And, where `check` asks for it, nats and correct (B,), over all tokens of the vocabulary.
        """
        owner, place = (labels >= 0).nonzero(as_tuple=True)
        states, targets, found = states[owner, place], labels[owner, place], None  # (N, H), (N,)

        def summed(values: Tensor) -> Tensor:
            return values.new_zeros(len(labels)).index_add(0, owner, values)

        if check or not self.sampled_negatives:
            with torch.set_grad_enabled(not self.sampled_negatives):
                logits = self.lm.head(states)  # (N, V)
                nats = F.cross_entropy(logits, targets, reduction="none")
            loss, right = summed(nats), logits.detach().argmax(-1) == targets
            found = {"nats": loss.detach(), "correct": summed(right.to(nats.dtype)).long()}
            if not self.sampled_negatives:
                return loss, found
            self.rivals = logits.topk(min(RIVALS, logits.shape[1]), dim=-1).indices.flatten()
        seen = torch.cat([targets, self.rivals])
        candidates, correction = draw_candidates(
            seen, self.lm.vocab_size, self.sampled_negatives, generator=self.generator
        )
        logits = self.lm.head(states, candidates) + correction
        nats = F.cross_entropy(logits, torch.searchsorted(candidates, targets), reduction="none")
        return summed(nats), found


def fit(
    lm: FrozenLM, states_of: Callable[[Tensor, Tensor], Tensor], ids: Sequence[Sequence[int]], start: Tensor, *,
    steps: int = STEPS, learning_rate: float = LEARNING_RATE, betas: tuple[float, float] = BETAS,
    weight_decay: float = WEIGHT_DECAY, batch_size: int = 64, stop: bool = True, sampled_negatives: int = 0,
    progress: bool = True, name: str = "fitting", curve: list | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Fit each text's vectors until all its tokens are the most likely ones, or for `steps` steps.

    states_of(values (B, P, H), labels (B, T)) -> (B, T, H), of which `lm.head` makes logits; labels are -100 after a
    text's end; start (N, P, H). A text that is done leaves the batch with its part of the optimiser's state, and the
    next one takes its place: long ones first, so that texts of like length stand together. stop=False: every text has
    all the steps. sampled_negatives: see `Loss`; 0 makes a text's vectors independent of those beside it. curve: a list
    that gets a dict for each text and check: text, step, loss (nats a token), correct.

    Returns vectors (N, P, H), those of most right tokens where a text was never done, and (N,) steps, correct and nats
    (summed over the tokens).
    """
    if not len(ids):
        raise ValueError("there is no text to fit")
    waiting = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    vectors, found, turn, loss_of = torch.empty_like(start), np.zeros((len(ids), 3)), 0, Loss(lm, sampled_negatives)
    state: dict[str, Tensor] = {}
    with tqdm(total=len(ids), desc=name, unit="text", disable=not progress, mininterval=2) as bar:
        while waiting or len(state["text"]):
            room = batch_size - len(state["text"]) if state else batch_size
            joined = bool(waiting and room)
            if joined:
                joining, waiting = joining_state(waiting[:room], start), waiting[room:]
                state = {k: torch.cat([state[k], v]) for k, v in joining.items()} if state else joining
                labels = padded([ids[i] for i in state["text"].tolist()], start.device)
            check = not sampled_negatives or joined or turn % CHECK == 0 or bool((state["count"] >= steps).any())
            values, tokens, turn = state["values"].detach().requires_grad_(), (labels >= 0).sum(1), turn + 1
            loss, now = loss_of(states_of(values, labels), labels, check)
            if not torch.isfinite(loss).all():
                raise ValueError(f"the loss is not finite; lower learning_rate={learning_rate}")
            done = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
            if check:
                keep_best(state, values.detach(), now["correct"], now["nats"])
                done = state["count"] >= steps
                done = done | (now["correct"] == tokens) if stop else done
                if curve is not None:
                    every = {"text": state["text"], "step": state["count"], "loss": now["nats"] / tokens}
                    every = {k: v.cpu() for k, v in (every | {"correct": now["correct"]}).items()}
                    curve += pd.DataFrame(every).to_dict("records")
            if not done.all():
                (gradient,) = torch.autograd.grad((loss / tokens).sum(), values)
                state["values"] = values.detach()
                adamw_step(
                    state["values"], gradient, state["first"], state["second"], state["count"] + 1, learning_rate,
                    betas, weight_decay,
                )  # fmt: skip
            if done.any():
                texts = state["text"][done]
                vectors[texts] = state["best"][done]
                columns = [state[k][done].cpu().double() for k in ("count", "best_correct", "best_nats")]
                found[texts.cpu().numpy()] = torch.stack(columns, 1).numpy()
                state = {k: v[~done] for k, v in state.items()}
                labels = labels[~done]
                labels = labels[:, : int((labels >= 0).sum(1).max())] if len(labels) else labels
                bar.update(int(done.sum()))
            state["count"] = state["count"] + 1
    return {
        "vectors": vectors.float().cpu().numpy() if vectors.dtype != torch.float64 else vectors.cpu().numpy(),
        "steps": found[:, 0].astype(int), "correct": found[:, 1].astype(int), "nats": found[:, 2],
    }  # fmt: skip


def joining_state(texts: list[int], start: Tensor) -> dict[str, Tensor]:
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


def fit_table(lm: FrozenLM, ids: Sequence[Sequence[int]], found: dict, said: Sequence[Sequence[int]]) -> pd.DataFrame:
    """What came of each text, one row a text.

    tokens (the end token counts), steps, correct and accuracy (over its tokens), nats and nats_alone (cross-entropy
    with the vectors, and under the same model without them), correct_alone, token_gain, information_gain (bits);
    read freely: right, positions, generated_accuracy, exact, as `generated_matches`; text, generated.
    """
    alone = lm.scores(ids)
    matches = generated_matches(said, [[lm.bos_token_id, *row] for row in ids], lm)
    tokens = alone.tokens.to_numpy()
    return pd.DataFrame({
        "tokens": tokens, "steps": found["steps"], "correct": found["correct"], "accuracy": found["correct"] / tokens,
        "nats": found["nats"], "nats_alone": alone.nats, "correct_alone": alone.correct,
        "token_gain": found["correct"] - alone.correct,
        "information_gain": recovered_bits(found["nats"], alone.nats.to_numpy()),
        "right": matches["right"], "positions": matches["positions"],
        "generated_accuracy": matches["right"] / matches["positions"], "exact": matches["exact"],
        "text": lm.text(ids), "generated": lm.text(said),
    })  # fmt: skip


def recovered_bits_interval(
    table: pd.DataFrame, reference_bits: np.ndarray, n_bootstrap: int = 1000
) -> dict[str, float]:
    """Recovered bits of the texts of `fit_table`'s table, a mean: bits, with low and high, a 95 % interval.

    reference_bits (N,): what each text costs under the study's reference language model.
    """
    bits = np.asarray(reference_bits) - table["nats"].to_numpy() / np.log(2)
    low, high = bootstrap(np.mean, bits, n=n_bootstrap)
    return {"bits": float(bits.mean()), "low": low, "high": high}
