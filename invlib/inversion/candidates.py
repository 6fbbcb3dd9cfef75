"""Candidates for the text behind a vector: what the decoder proposes, and where the frozen encoder puts it."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationConfig

from invlib.device import precision
from invlib.models.codec import split, until_end
from invlib.models.decoders import Hypothesis
from invlib.models.generation import generate

Ids = tuple[int, ...]  # the word pieces of a text, without special tokens
BATCH = {"cpu": 128, "cuda": 8192, "mps": 256}  # texts at once
LIKELIEST = 50  # pieces that a sample is drawn from
LONGER = 8  # word pieces by which a text may be longer than what it is made from


def batch_size(model) -> int:
    """How many texts the model's device takes at once."""
    return BATCH.get(model.device.type, 128)


def rounding(model) -> torch.autocast:
    """Within it matrix products are in bfloat16, where the model's device has it in hardware."""
    kind = precision(model.device)
    return torch.autocast(model.device.type, kind, enabled=kind == torch.bfloat16)


def read(model, texts: Sequence[Sequence[int]]) -> Hypothesis:
    """The texts as the frozen encoder sees them, on the model's device; one that is empty is [CLS] [SEP]."""
    c, encoder = model.config, model.encoder
    batch = encoder.pad([[c.bos_token_id, *ids, c.eos_token_id] for ids in texts])
    return model.read_hypothesis(*(batch[key].to(model.device) for key in ("input_ids", "attention_mask")))


def embed(model, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """The encoder's own sentence embeddings of texts given as word pieces, of length 1: (N, H) float32.

    Texts of like length are read together: hardly any padding is computed.
    """
    out = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")
    for part in split(order, batch_size(model)):
        found = read(model, [texts[i] for i in part]).sentence_embedding
        out[part] = torch.nn.functional.normalize(found, dim=-1).float().cpu().numpy()
    return out


@torch.no_grad()
def propose(
    model, z: Tensor, hypotheses: Sequence[Sequence[int]] | None = None, n: int = 1, temperature: float = 0.0,
    allowed: Sequence[Collection[int]] | None = None,
) -> list[list[Ids]]:  # fmt: skip
    """n texts for each vector of z (N, D): the n best of a beam, or as many samples where `temperature` is above 0.

    hypotheses: N texts, which a correcting decoder reads beside the vectors; what is proposed is hardly longer.
    allowed: for each vector the word pieces that its samples may be made of; None = all.
    """
    c, vocabulary, found = model.config, model.decoder.vocabulary, []
    _ = model.encoder  # a model that was loaded has the decoder's words from it
    lengths = np.zeros(len(z)) if hypotheses is None else np.array([len(text) for text in hypotheses])
    order = np.argsort(lengths, kind="stable")
    for part in split(order, max(1, batch_size(model) // n)):
        some = z[torch.from_numpy(part).to(z.device)].to(model.dtype)
        more = () if hypotheses is None else (read(model, [hypotheses[i] for i in part]),)
        longest = c.max_length - 1 if hypotheses is None else min(c.max_length - 1, int(lengths[part].max()) + LONGER)
        if temperature:
            only = None if allowed is None else [allowed[i] for i in part]
            rows = sampled(model, some, more, n, temperature, longest, only)
        elif n == 1:
            inputs = model.decoder.generator(some, *more)[1]
            rows = generate(model.decoder, inputs, lambda states, _: vocabulary.likeliest(states), longest, c)
        else:
            lm, inputs = model.decoder.generator(some, *more)
            rows = lm.generate(
                torch.full((len(part), 1), c.bos_token_id, device=model.device),
                generation_config=beam_config(c, n, longest), **inputs,
            )[:, 1:]  # fmt: skip
        texts = [ordinary(row, c) for row in rows.tolist()]
        found += [texts[k * n : (k + 1) * n] for k in range(len(part))]
    return [found[k] for k in np.argsort(order, kind="stable")]


@torch.no_grad()
def log_probabilities(model, z: np.ndarray, texts: Sequence[Ids]) -> np.ndarray:
    """How likely the decoder holds each text, its end included, for its vector: z (N, D) -> (N,) float32, nats."""
    c, out = model.config, np.zeros(len(texts), dtype=np.float32)
    _ = model.encoder  # a model that was loaded has the decoder's words from it
    order = np.argsort([len(text) for text in texts], kind="stable")
    for part in split(order, batch_size(model)):
        batch = model.encoder.pad([[c.bos_token_id, *texts[i], c.eos_token_id] for i in part])
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        vectors = torch.from_numpy(z[part]).to(model.device, model.dtype)
        with rounding(model):
            labels, labelled = ids[:, 1:], mask[:, 1:].bool()
            logits = model.logits(model.decoder.decode_states(vectors, ids[:, :-1])[labelled])  # (all pieces, V)
        nats = torch.zeros(labels.shape, device=model.device)
        nats[labelled] = -F.cross_entropy(logits.float(), labels[labelled], reduction="none")
        out[part] = nats.sum(1).cpu().numpy()
    return out


def beam_config(config, n: int, longest: int) -> GenerationConfig:
    """The n best of a beam of n, of at most `longest` pieces after [CLS]."""
    same = {key: getattr(config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(max_length=longest + 1, num_beams=n, num_return_sequences=n, early_stopping=True, **same)


def sampled(
    model, z: Tensor, more: tuple, n: int, temperature: float, longest: int, allowed: Sequence[Collection[int]] | None
) -> Tensor:
    """n texts drawn piece by piece for each vector, (N n, at most longest) int64; after the end token anything.

    Where only some pieces are allowed, no other's logit is computed.
    """
    c, rows = model.config, torch.arange(len(z), device=z.device).repeat_interleave(n)
    pieces = forbidden = None
    if allowed is not None:
        pieces = torch.tensor(sorted(set().union(*allowed) | {c.eos_token_id}), device=z.device)
        place = {i: k for k, i in enumerate(pieces.tolist())}
        forbidden = torch.ones(len(z), len(pieces), dtype=torch.bool, device=z.device)
        for row, own in zip(forbidden, allowed, strict=True):
            row[[place[i] for i in {*own, c.eos_token_id}]] = False

    def draw(states: Tensor, texts: Tensor) -> Tensor:
        logits = model.logits(states, pieces).float()
        if forbidden is not None:
            logits = logits.masked_fill(forbidden[rows[texts]], -torch.inf)
        best, which = logits.topk(min(LIKELIEST, logits.shape[1]), dim=-1)
        drawn = which.gather(1, torch.multinomial((best / temperature).softmax(-1), 1)).squeeze(1)
        return drawn if pieces is None else pieces[drawn]

    inputs = {name: value[rows] for name, value in model.decoder.generator(z, *more)[1].items()}
    return generate(model.decoder, inputs, draw, longest, c)


def ordinary(ids: Sequence[int], config) -> Ids:
    """Generated ids up to the end token, without special tokens, cut to what fits the model."""
    special = {config.bos_token_id, config.eos_token_id, config.pad_token_id}
    ids = until_end(ids, config.eos_token_id)
    return tuple(i for i in ids if i not in special)[: config.max_length - 2]
