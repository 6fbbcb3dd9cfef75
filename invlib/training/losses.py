"""What training minimises: cross-entropy of the headline's word pieces, and the deck's sent_sim_loss."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from invlib.encoders.frozen import FrozenEncoder


@torch.no_grad()
def nearest_pieces(word_embeddings: Tensor, k: int) -> Tensor:
    """The `k` word pieces whose embeddings have the highest cosine with each piece's own, (V, H) -> (V, k) int64."""
    table = F.normalize(word_embeddings.float(), dim=-1)
    found = [(part @ table.T).topk(k + 1).indices for part in table.split(2048)]
    return torch.cat(found)[:, 1:]  # the nearest of all is the piece itself


def draw_candidates(
    labels: Tensor,
    vocab_size: int,
    n_random: int,
    hard_negatives: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The word pieces that a step's softmax runs over: the batch's own, and `n_random` others drawn evenly.

    hard_negatives (V, k): the pieces nearest to each piece; those of the batch's own pieces are added.
    generator: where the draws come from, on the labels' device; torch's own by default.
    Returns candidates (C,) int64, sorted, and correction (C,) float32. A drawn piece stands for the
    (pieces not in the batch) / n_random pieces that were not drawn, so the logarithm of that ratio is added to its
    logit: the softmax's denominator is then right on the average, and what is learned are probabilities over all
    word pieces (sampled softmax: Jean et al., "On Using Very Large Target Vocabulary", 2015, section 3).
    """
    own = torch.zeros(vocab_size, dtype=torch.bool, device=labels.device)
    own[labels] = True
    if hard_negatives is not None:
        own[hard_negatives[labels]] = True
    others = (~own).nonzero().flatten()
    n_random = min(n_random, len(others))
    drawn = others[torch.randperm(len(others), device=labels.device, generator=generator)[:n_random]]
    correction = torch.zeros(vocab_size, device=labels.device)
    correction[drawn] = math.log(len(others) / n_random) if n_random else 0.0
    own[drawn] = True
    candidates = own.nonzero().flatten()
    return candidates, correction[candidates]


def reconstruction_loss(
    model, output: dict[str, Tensor], n_negatives: int = 0, hard_negatives: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the labelled positions, in nats; over all word pieces where n_negatives is 0."""
    states, labels = output["states"], output["labels"]
    if not n_negatives:
        return F.cross_entropy(model.logits(states).float(), labels)
    candidates, correction = draw_candidates(labels, model.config.vocab_size, n_negatives, hard_negatives)
    logits = model.logits(states, candidates).float() + correction  # (N, C)
    return F.cross_entropy(logits, torch.searchsorted(candidates, labels))


def sent_sim_loss(model, encoder: FrozenEncoder, batch: dict[str, Tensor], n_sentences: int | None = None) -> Tensor:
    """1 - cosine between the encoder's sentence embedding of the reference and of the decoder's prediction.

    The prediction is read as expected word embeddings: at each position the encoder's word embeddings averaged under
    the decoder's softmax (teacher-forced), so that the gradient runs through the frozen encoder into the decoder.
    batch: input_ids, attention_mask (B, T), token_embeddings (B, T, H * layers), reference (B, H), the encoder's
    sentence embeddings. Reads the first `n_sentences`. Returns a scalar in [0, 2].
    """
    n = n_sentences or len(batch["input_ids"])
    part = {k: v[:n] for k, v in batch.items()}
    mask = part["attention_mask"]
    output = model(**part)
    probabilities = model.logits(output["states"]).float().softmax(-1)  # (N, V)
    table = encoder.word_embeddings  # (V, H)
    expected = table[part["input_ids"]].clone()  # position 0 keeps [CLS]; padding is masked
    positions = F.pad(mask[:, 1:].bool(), (1, 0))  # the labelled positions, (B, T)
    expected[positions] = (probabilities @ table).to(expected.dtype)
    states = encoder.model(inputs_embeds=expected, attention_mask=mask).last_hidden_state
    predicted = encoder.pool(states.float(), mask)
    return (1 - F.cosine_similarity(predicted, part["reference"].float(), dim=-1)).mean()
