"""What is measured of a model: how much of the sentence the vector gave back, and how surely that is known.

Figures of single headlines come first, as arrays with one entry a headline; `ratio` adds them up and `bootstrap` says
how far the sums could move. evaluation.py puts them together.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from invlib.encoders.batches import StatesDataset, in_order

TOP_K = (1, 3, 5, 10, 15, 25, 50, 100)


@torch.no_grad()
def teacher_forced(model, dataset: StatesDataset, vectors=None, top_k: Sequence[int] = TOP_K, batch_size: int = 64):
    """Next-token figures with the true prefix given, one entry a headline.

    `vectors` (N, D) take the place of the model's own (for the shuffled control). Returns a dict of float arrays (N,):
    tokens (labels counted: the first piece and the end token count, padding never), nats (cross-entropy over all
    word pieces, summed), and hits_<k> (labels among the k most likely), and sentence_embedding (N, D).
    """
    model.eval()
    found: dict[str, list] = {
        name: [] for name in ("tokens", "nats", "sentence_embedding", *(f"hits_{k}" for k in top_k))
    }
    for number, batch in enumerate(in_order(dataset, batch_size, model.device)):
        if vectors is not None:
            part = vectors[number * batch_size : number * batch_size + len(batch["input_ids"])]
            batch["sentence_embedding"] = torch.as_tensor(part).to(model.device)
        out = model(**batch)
        with torch.autocast(model.device.type, enabled=False):  # bfloat16 logits tie
            logits = model.logits(out["states"].float())  # (N, V)
        labels = out["labels"]
        nats = F.cross_entropy(logits, labels, reduction="none")
        own = logits.gather(1, labels[:, None])
        if not torch.isfinite(nats).all():
            raise ValueError("the model's cross-entropy is not finite: its weights or its vectors hold NaN or infinity")
        rank = (logits > own).sum(1, dtype=torch.int32)  # word pieces that come before the true one
        level = logits == own
        for i in (level.sum(1, dtype=torch.int32) > 1).nonzero().flatten().tolist():  # ties, which are rare
            rank[i] += level[i, : labels[i]].sum()
        row = torch.arange(len(batch["input_ids"]), device=labels.device)
        row = row.repeat_interleave(batch["attention_mask"].sum(1) - 1)  # the headline of each label
        n = len(batch["input_ids"])

        def add(values, row=row, n=n):
            return torch.zeros(n, device=row.device).index_add_(0, row, values.float()).cpu().numpy()

        found["tokens"].append(add(torch.ones_like(nats)))
        found["nats"].append(add(nats))
        found["sentence_embedding"].append(out["sentence_embedding"].float().cpu().numpy())
        for k in top_k:
            found[f"hits_{k}"].append(add(rank < k))
    return {name: np.concatenate(values) for name, values in found.items()}


def generated_matches(
    said: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], config
) -> dict[str, np.ndarray]:
    """Free-running accuracy by position, one entry a headline.

    said: ids without [CLS], up to and with the end token where there is one; reference: ids with [CLS] and [SEP].
    right: positions at which both have the same piece ([UNK] in the reference counts as wrong); positions: those of
    the longer of the two; exact: all ids equal, end token included (never where the reference holds [UNK] or was cut
    at max_length).
    """
    right, positions, exact = [], [], []
    for ids, full in zip(said, reference, strict=True):
        ids, ref = list(ids), list(full)[1:]
        same = sum(a == b and b != config.unk_token_id for a, b in zip(ids, ref, strict=False))
        cut = len(full) >= config.max_length  # nobody knows whether the sentence ended there
        right.append(same)
        positions.append(max(len(ids), len(ref)))
        exact.append(float(ids == ref and config.unk_token_id not in ref and not cut))
    return {k: np.array(v, dtype=float) for k, v in (("right", right), ("positions", positions), ("exact", exact))}


def bleu(said: Sequence[str], reference: Sequence[str]) -> float:
    """Corpus BLEU by sacrebleu, 0 to 100; both sides in the tokenizer's own spelling."""
    import sacrebleu

    return float(sacrebleu.corpus_bleu(list(said), [list(reference)], tokenize="none", lowercase=True).score)


def recovered_bits(nats: np.ndarray, reference_nats: np.ndarray) -> np.ndarray:
    """Bits of a headline that the vector gave: what the reference language model lacks minus what is still lacking.

    Both are cross-entropies of the headline's tokens in nats, summed, over all word pieces; returns bits a headline.
    """
    return (reference_nats - nats) / math.log(2)
