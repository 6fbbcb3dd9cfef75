"""Figures of single headlines: what the model predicts with the true prefix given, and what it generates freely.

Each is an array with one entry a headline; `intervals` adds them up, and evaluation/ puts them together.
"""

import math
from collections import Counter
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
    word pieces, summed), and hits_<k> (labels among the k most likely; of equally likely pieces the vocabulary's first
    comes first), and sentence_embedding (N, D). ValueError where a cross-entropy is NaN or infinite.
    """
    model.eval()
    tokens, nats, ranks, own_vectors = [], [], [], []  # tokens a headline; nats and ranks a label
    for number, batch in enumerate(in_order(dataset, batch_size, model.device)):
        if vectors is not None:
            part = vectors[number * batch_size : number * batch_size + len(batch["input_ids"])]
            batch["sentence_embedding"] = torch.as_tensor(part).to(model.device)
        out = model(**batch)
        with torch.autocast(model.device.type, enabled=False):  # bfloat16 logits tie
            logits = model.logits(out["states"].float())  # (labels, V)
        labels = out["labels"][:, None]
        label_logit, pieces = logits.gather(1, labels), torch.arange(logits.shape[1], device=logits.device)
        before = (logits > label_logit) | ((logits == label_logit) & (pieces < labels))
        ranks.append(before.sum(1, dtype=torch.int32).cpu().numpy())
        nats.append(F.cross_entropy(logits, labels[:, 0], reduction="none").cpu().numpy())
        tokens.append((batch["attention_mask"].sum(1) - 1).cpu().numpy())
        own_vectors.append(out["sentence_embedding"].float().cpu().numpy())
    tokens, nats, ranks = map(np.concatenate, (tokens, nats, ranks))
    if not np.isfinite(nats).all():
        raise ValueError("the model's cross-entropy is not finite: its weights or its vectors hold NaN or infinity")

    def by_headline(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(float), tokens.cumsum() - tokens)

    hits = {f"hits_{k}": by_headline(ranks < k) for k in top_k}
    vectors = np.concatenate(own_vectors)
    return {"tokens": tokens.astype(float), "nats": by_headline(nats), **hits, "sentence_embedding": vectors}


def generated_matches(
    generated: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], config
) -> dict[str, np.ndarray]:
    """Free-running accuracy by position, one entry a headline.

    generated: ids without [CLS], up to and with the end token if it was generated; reference: ids with [CLS] and [SEP].
    right: positions at which both have the same piece ([UNK] in the reference counts as wrong); positions: those of
    the longer of the two; exact: 1 where all ids are equal, end token included, else 0. Never exact: a reference that
    holds [UNK], and one as long as max_length. Such a headline may have been cut, so nobody knows where it ended; one
    that ends right there counts as wrong too.
    """
    right, positions, exact = [], [], []
    for ids, full in zip(generated, reference, strict=True):
        ids, ref = list(ids), list(full)[1:]
        same = sum(a == b and b != config.unk_token_id for a, b in zip(ids, ref, strict=False))
        right.append(same)
        positions.append(max(len(ids), len(ref)))
        exact.append(ids == ref and config.unk_token_id not in ref and len(full) < config.max_length)
    return {k: np.array(v, dtype=float) for k, v in (("right", right), ("positions", positions), ("exact", exact))}


def bleu(generated: Sequence[str], reference: Sequence[str], order: int = 4) -> float:
    """Corpus BLEU by sacrebleu, 0 to 100; both sides in the tokenizer's own spelling. order: the longest n-grams."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", lowercase=True, force=True, max_ngram_order=order)
    return float(metric.corpus_score(list(generated), [list(reference)]).score)


def recovered_bits(nats: np.ndarray, reference_nats: np.ndarray) -> np.ndarray:
    """Bits of a headline that the vector gives: the reference language model's cross-entropy less the model's.

    Both are cross-entropies of the headline's tokens in nats, summed, over all word pieces; returns bits a headline.
    """
    return (reference_nats - nats) / math.log(2)


def token_f1(found: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> np.ndarray:
    """F1 of the word pieces of each pair of texts in any order, each as often as it stands there, (N,) in [0, 1]."""
    scores = []
    for a, b in zip(found, reference, strict=True):
        common = (Counter(a) & Counter(b)).total()
        scores.append(2 * common / (len(a) + len(b)) if common else 0.0)
    return np.array(scores)
