"""Vectors fitted to the input of a frozen language model by AdamW, many texts in one batch; no weight changes."""

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
CHECK_EVERY, HARD_NEGATIVES = 10, 4  # for a loss over a sample of the vocabulary: see `Loss`


def start_vectors(lm: FrozenLM, ids: Sequence[Sequence[int]], n_vectors: int, seed: int | Sequence[int] = 0) -> Tensor:
    """Random start vectors (N, n_vectors, H), with the standard deviation of the model's input embeddings.

    A text's vectors are drawn from its seed (one for all texts, or one for each) and its ids, so that they do not
    depend on the other texts. float32 at least, on the model's device.
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
    values: Tensor, gradient: Tensor, first: Tensor, second: Tensor, count: Tensor, learning_rate: float = LEARNING_RATE
) -> None:
    """One step of AdamW (Loshchilov & Hutter, 2019) in place, on (B, P, H), each text at its own number of steps.

    first, second (B, P, H): running means of gradient and squared gradient; count (B,): steps with this one included.
    """
    a, b = BETAS
    first.lerp_(gradient, 1 - a)
    second.mul_(b).addcmul_(gradient, gradient, value=1 - b)
    count = count.view(-1, 1, 1).to(values.dtype)
    root = (second / (1 - b**count)).sqrt_().add_(1e-8)
    values.mul_(1 - learning_rate * WEIGHT_DECAY).sub_(learning_rate * first / (1 - a**count) / root)


class Loss:
    """Each text's cross-entropy, over the whole vocabulary or over a sample of it.

    The papers take the whole vocabulary (sampled_negatives=0). With 30 522 tokens that is most of a small model's
    step. With sampled_negatives=n the loss runs over the batch's own tokens, n others that are drawn anew at each step
    (and corrected for, as in training), and the HARD_NEGATIVES most likely tokens of each position at the last check.
    A check compares with the whole vocabulary; it happens at every CHECK_EVERY-th step.
    """

    def __init__(self, lm: FrozenLM, sampled_negatives: int = 0):
        self.lm, self.sampled_negatives = lm, sampled_negatives
        self.hard_negatives = torch.zeros(0, dtype=torch.int64, device=lm.device)
        self.generator = torch.Generator(lm.device).manual_seed(0)  # the same texts and starts: the same draws

    def __call__(self, states: Tensor, labels: Tensor, check: bool) -> tuple[Tensor, dict[str, Tensor] | None]:
        """states (B, T, H), labels (B, T), -100 after a text's end -> loss (B,) in nats, summed over a text's tokens.

        Also returns, where `check` is true, nats and correct (B,) over the whole vocabulary.
        """
        text, position = (labels >= 0).nonzero(as_tuple=True)
        states, targets, checked = states[text, position], labels[text, position], None  # (N, H), (N,)

        def summed(values: Tensor) -> Tensor:
            return values.new_zeros(len(labels)).index_add(0, text, values)

        if check or not self.sampled_negatives:
            with torch.set_grad_enabled(not self.sampled_negatives):
                logits = self.lm.head(states)  # (N, V)
                loss = summed(F.cross_entropy(logits, targets, reduction="none"))
            right = logits.detach().argmax(-1) == targets
            checked = {"nats": loss.detach(), "correct": summed(right.to(loss.dtype)).long()}
            if not self.sampled_negatives:
                return loss, checked
            self.hard_negatives = logits.topk(min(HARD_NEGATIVES, logits.shape[1]), dim=-1).indices.flatten()
        kept = torch.cat([targets, self.hard_negatives])
        candidates, correction = draw_candidates(
            kept, self.lm.vocab_size, self.sampled_negatives, generator=self.generator
        )
        logits = self.lm.head(states, candidates) + correction
        return summed(F.cross_entropy(logits, torch.searchsorted(candidates, targets), reduction="none")), checked


class Batch:
    """The vectors of N texts with AdamW's state, and the indices of the texts that are fitted now.

    values, first, second (N, P, H) and steps (N,) are the optimiser's; best, best_correct and best_nats are the vectors
    with the most correct tokens so far. active (B,): the texts of the batch, the longest first.
    """

    def __init__(self, ids: Sequence[Sequence[int]], start: Tensor):
        n, where = len(ids), start.device
        self.labels, self.waiting = padded(ids, where), sorted(range(n), key=lambda i: -len(ids[i]))
        self.tokens = (self.labels >= 0).sum(1)
        self.values, self.best = start.clone(), start.clone()
        self.first, self.second = torch.zeros_like(start), torch.zeros_like(start)
        self.steps, self.best_correct = torch.zeros_like(self.tokens), torch.full_like(self.tokens, -1)
        self.best_nats = start.new_zeros(n)
        self.active = torch.zeros(0, dtype=torch.int64, device=where)

    def join(self, size: int) -> bool:
        """Fill the batch up to `size` texts, so that texts of similar length meet; whether any text joined."""
        joining, self.waiting = self.waiting[: size - len(self.active)], self.waiting[size - len(self.active) :]
        self.active = torch.cat([self.active, torch.tensor(joining, dtype=torch.int64, device=self.active.device)])
        return bool(joining)

    def keep_best(self, correct: Tensor, nats: Tensor) -> None:
        """Keep the vectors with the most correct tokens; among equals, those with the lower cross-entropy."""
        old, old_nats = self.best_correct[self.active], self.best_nats[self.active]
        better = (correct > old) | ((correct == old) & (nats < old_nats))
        texts = self.active[better]
        self.best[texts] = self.values[texts]
        self.best_correct[texts], self.best_nats[texts] = correct[better], nats[better].to(old_nats.dtype)

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """One step of AdamW for the texts of the batch; gradient (B, P, H)."""
        self.steps[self.active] += 1
        values, first, second = (x[self.active] for x in (self.values, self.first, self.second))
        adamw_step(values, gradient, first, second, self.steps[self.active], learning_rate)
        self.values[self.active], self.first[self.active], self.second[self.active] = values, first, second


def fit(
    lm: FrozenLM, states_of: Callable[[Tensor, Tensor], Tensor], ids: Sequence[Sequence[int]], start: Tensor, *,
    steps: int = STEPS, learning_rate: float = LEARNING_RATE, batch_size: int = 64, stop: bool = True,
    sampled_negatives: int = 0, progress: bool = True, name: str = "fitting", curve: list | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Fit each text's vectors until the model predicts all its tokens, or for `steps` steps.

    states_of(values (B, P, H), labels (B, T)) -> states (B, T, H), from which `lm.head` makes logits; labels are -100
    after a text's end; start (N, P, H). A text that is done leaves the batch, and the next one takes its place.
    stop=False: every text gets all the steps. sampled_negatives: see `Loss`; with 0 a text's result does not depend on
    the rest of the batch. curve: a list that gets one dict for each text and check: text (its index), step, loss (nats
    a token), correct.

    Returns vectors (N, P, H), with the most correct tokens where a text was never done, and (N,) steps, correct and
    nats (summed over tokens). ValueError without texts, or for a loss that is not finite.
    """
    if not len(ids):
        raise ValueError("there is no text to fit; give at least one")
    batch, loss_of, turn = Batch(ids, start), Loss(lm, sampled_negatives), 0
    with tqdm(total=len(ids), desc=name, unit="text", disable=not progress, mininterval=2) as bar:
        while batch.waiting or len(batch.active):
            check = batch.join(batch_size) or not sampled_negatives or turn % CHECK_EVERY == 0
            active, turn = batch.active, turn + 1
            last = batch.steps[active] >= steps
            values, tokens = batch.values[active].requires_grad_(), batch.tokens[active]
            labels = batch.labels[active, : int(tokens.max())]
            loss, checked = loss_of(states_of(values, labels), labels, check or bool(last.any()))
            if not torch.isfinite(loss).all():
                raise ValueError(f"the loss is not finite; lower learning_rate={learning_rate}")
            done = last
            if checked:
                batch.keep_best(**checked)
                done = last | (checked["correct"] == tokens) if stop else last
                if curve is not None:
                    columns = {"text": active, "step": batch.steps[active], "loss": checked["nats"] / tokens}
                    columns = {k: v.cpu() for k, v in (columns | {"correct": checked["correct"]}).items()}
                    curve += pd.DataFrame(columns).to_dict("records")
            batch.active = active[~done]
            if len(batch.active):
                (gradient,) = torch.autograd.grad((loss / tokens).sum(), values)
                batch.step(gradient[~done], learning_rate)
            bar.update(int(done.sum()))
    found = {"vectors": batch.best, "steps": batch.steps, "correct": batch.best_correct, "nats": batch.best_nats}
    return {k: v.cpu().numpy() for k, v in found.items()}


def fit_table(
    lm: FrozenLM, ids: Sequence[Sequence[int]], found: dict, generated: Sequence[Sequence[int]]
) -> pd.DataFrame:
    """The results of `fit`, one line a text; generated: the ids that the vectors give without the true text.

    With the true text before each token: tokens (with the end token), steps, correct, accuracy, nats. The same model
    without the vectors: nats_alone, correct_alone; the difference: token_gain, information_gain (bits). Of `generated`,
    by `generated_matches`: right, positions, generated_accuracy, exact. And text, generated.
    """
    alone = lm.scores(ids)
    matches = generated_matches(generated, [[lm.bos_token_id, *row] for row in ids], lm)
    tokens, nats = alone.tokens.to_numpy(), found["nats"].astype(float)
    return pd.DataFrame({
        "tokens": tokens, "steps": found["steps"], "correct": found["correct"], "accuracy": found["correct"] / tokens,
        "nats": nats, "nats_alone": alone.nats, "correct_alone": alone.correct,
        "token_gain": found["correct"] - alone.correct,
        "information_gain": recovered_bits(nats, alone.nats.to_numpy()),
        "right": matches["right"], "positions": matches["positions"],
        "generated_accuracy": matches["right"] / matches["positions"], "exact": matches["exact"],
        "text": lm.text(ids), "generated": lm.text(generated),
    })  # fmt: skip


def recovered_bits_interval(
    table: pd.DataFrame, reference_bits: np.ndarray, n_bootstrap: int = 1000
) -> dict[str, float]:
    """The mean recovered bits of `fit_table`'s texts: bits, and low and high, a 95 % interval.

    reference_bits (N,): the bits of each text under the study's reference language model.
    """
    bits = np.asarray(reference_bits) - table["nats"].to_numpy() / np.log(2)
    low, high = bootstrap(np.mean, bits, n=n_bootstrap)
    return {"bits": float(bits.mean()), "low": low, "high": high}
