"""How fast are a model and its shuffled control measured with the true words given, over all word pieces?

Against the plain way: the headlines in their order, all logits of a batch at once, ranks by comparing each logit three
times, and the encoder's states read for the shuffled vectors too. The figures are compared as well.
"""

import tempfile

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.common import compare, headlines, write
from invlib.encoders.batches import StatesDataset, in_order
from invlib.encoders.token_states import token_states
from invlib.evaluation.controls import shuffled_vectors
from invlib.measures.text import TOP_K, teacher_forced
from invlib.models.model import InvertibleSentenceModel

N, BATCH = 400, 64


@torch.no_grad()
def plain(model, dataset: StatesDataset, vectors=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks and cross-entropies of all labels, and the vectors."""
    ranks, nats, own = [], [], []
    for number, batch in enumerate(in_order(dataset, BATCH)):
        if vectors is not None:
            batch["sentence_embedding"] = torch.from_numpy(vectors[number * BATCH :][:BATCH])
        out = model(**batch)
        logits, labels = model.logits(out["states"].float()), out["labels"][:, None]
        label_logit, pieces = logits.gather(1, labels), torch.arange(logits.shape[1])
        before = (logits > label_logit) | ((logits == label_logit) & (pieces < labels))
        ranks.append(before.sum(1, dtype=torch.int32).numpy())
        nats.append(F.cross_entropy(logits, labels[:, 0], reduction="none").numpy())
        own.append(out["sentence_embedding"].numpy())
    return np.concatenate(ranks), np.concatenate(nats), np.concatenate(own)


def main() -> None:
    texts, source = headlines(N)
    model = InvertibleSentenceModel.from_pretrained("hybrid_384_long").to("cpu")
    with tempfile.TemporaryDirectory() as cache:
        states = token_states(model.encoder, texts, model.config.max_length, cache=cache, progress=False)
        data = StatesDataset(states, None, model.reads_layers, model.encoder.word_embeddings.numpy())

        def ours() -> list[dict]:
            own = teacher_forced(model, data)
            return [own, teacher_forced(model, data, shuffled_vectors(own["sentence_embedding"]), top_k=(1,))]

        def theirs() -> list[tuple]:
            own = plain(model, data)
            return [own, plain(model, data, shuffled_vectors(own[2]))]

        hits = [int(found["hits_1"].sum()) for found in ours()], [int((ranks < 1).sum()) for ranks, *_ in theirs()]
        line = compare(
            f"own and shuffled vectors of {N} headlines", ours, "all logits in the order of arrival", theirs, n=N,
            warm=False, hits=hits, ranks=list(TOP_K),
        )  # fmt: skip
    write("teacher_forced", "How fast are a model and its control measured?", [line], headlines=source)


if __name__ == "__main__":
    main()
