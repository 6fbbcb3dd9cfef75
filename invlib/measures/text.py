"""Figures of single headlines: what the model predicts with the true prefix given, and what it generates freely.

Each is an array with one entry a headline; `intervals` adds them up, and evaluation/ puts them together.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from invlib.encoders.batches import StatesDataset, length_sorted
from invlib.measures.intervals import bootstrap

LABELS = 128  # whose logits are in memory at once: they stay in the processor's cache
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
    data = dataset if vectors is None else dataset.without_states()
    arrays = ("tokens", "nats", *(f"hits_{k}" for k in top_k))
    found = {name: np.zeros(len(dataset)) for name in arrays}
    found["sentence_embedding"] = np.zeros((len(dataset), model.config.embedding_dim), dtype=np.float32)
    for rows, batch in length_sorted(data, batch_size, model.device):
        if vectors is not None:
            batch["sentence_embedding"] = torch.as_tensor(vectors[rows]).to(model.device)
        out = model(**batch)
        parts = zip(out["states"].split(LABELS), out["labels"].split(LABELS), strict=True)
        ranks, nats = map(np.concatenate, zip(*(ranks_and_nats(model, *part, top_k) for part in parts), strict=True))
        lengths = (batch["attention_mask"].sum(1) - 1).cpu().numpy()
        starts = lengths.cumsum() - lengths
        found["tokens"][rows] = lengths
        found["nats"][rows] = np.add.reduceat(nats.astype(float), starts)
        for k in top_k:
            found[f"hits_{k}"][rows] = np.add.reduceat((ranks < k).astype(float), starts)
        found["sentence_embedding"][rows] = out["sentence_embedding"].float().cpu().numpy()
    if not np.isfinite(found["nats"]).all():
        raise ValueError("the model's cross-entropy is not finite: its weights or its vectors hold NaN or infinity")
    return found


def ranks_and_nats(model, states: Tensor, labels: Tensor, top_k: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """How many pieces are likelier than each label, and its cross-entropy in nats: (n, n_embd), (n,) -> (n,) each.

    Of equally likely pieces the vocabulary's first is the likelier. Where top_k is 1 alone a rank is 0, or 1 for more.
    """
    with torch.autocast(states.device.type, enabled=False):  # bfloat16 logits tie
        logits = model.logits(states.float())  # (n, V)
    labels = labels.unsqueeze(1)
    own = logits.gather(1, labels)
    if max(top_k) == 1:
        ranks = (logits.argmax(1, keepdim=True) != labels).squeeze(1).to(torch.int32)
    else:
        ranks, also_equal = (logits > own).sum(1, dtype=torch.int32), (logits >= own).sum(1, dtype=torch.int32)
        (tied,) = torch.nonzero(also_equal - ranks > 1, as_tuple=True)
        pieces = torch.arange(logits.shape[1], device=logits.device)
        ranks[tied] += ((logits[tied] == own[tied]) & (pieces < labels[tied])).sum(1, dtype=torch.int32)
    nats = F.cross_entropy(logits, labels.squeeze(1), reduction="none")
    return ranks.cpu().numpy(), nats.cpu().numpy()


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


def bleu_interval(generated: Sequence[str], reference: Sequence[str], n: int = 1000) -> list[float]:
    """95 % interval of `bleu` by resampling texts: [low, high]."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", lowercase=True, force=True)
    scores = [metric.corpus_score([a], [[b]]) for a, b in zip(generated, reference, strict=True)]
    counted = np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])  # (N, 10)

    def of_sums(rows: np.ndarray) -> float:
        *sums, found, true = rows.sum(0).tolist()
        return BLEU.compute_bleu(sums[:4], sums[4:], found, true, smooth_method="exp").score

    return bootstrap(of_sums, counted, n=n)


def recovered_bits(nats: np.ndarray, reference_nats: np.ndarray) -> np.ndarray:
    """Bits of a headline that the vector gives: the reference language model's cross-entropy less the model's.

    Both are cross-entropies of the headline's tokens in nats, summed, over all word pieces; returns bits a headline.
    """
    return (reference_nats - nats) / math.log(2)


def token_f1(found: Sequence[Sequence], reference: Sequence[Sequence]) -> np.ndarray:
    """F1 of the word pieces of each pair of texts in any order, each as often as it stands there, (N,) in [0, 1]."""
    scores = []
    for a, b in zip(found, reference, strict=True):
        common = (Counter(a) & Counter(b)).total()
        scores.append(2 * common / (len(a) + len(b)) if common else 0.0)
    return np.array(scores)
