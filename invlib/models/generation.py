"""Texts from a model's vectors: greedy search by own steps, beam search and all its options by transformers.

transformers' `generate` keeps the texts that have ended in the batch until the last one ends, and their share of the
output layer, which is most of a step. In greedy search finished texts leave the batch.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import GenerationConfig

from invlib.device import precision
from invlib.models.codec import Vectors, split, until_end
from invlib.models.vocabulary import Rounded

LEAVE = 8  # finished texts leave the batch when they are more than one in so many
MANY = 64  # vectors for which rounding the whole vocabulary once is worth it
SEARCH = (  # what `generate_ids` takes of transformers' GenerationConfig beside num_beams
    "bad_words_ids", "do_sample", "early_stopping", "length_penalty", "min_length", "min_p", "no_repeat_ngram_size",
    "repetition_penalty", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
)  # fmt: skip


def generate_ids(model, z: Vectors, num_beams: int, batch_size: int | None, search: dict) -> list[list[int]]:
    """`generate_ids` of an `InvertibleSentenceModel`."""
    c, taken = model.config, SEARCH if hasattr(model.decoder, "generator") else ()
    if num_beams < 1:
        raise ValueError(f"num_beams={num_beams}: 1 is greedy search, more is beam search")
    if unknown := set(search) - set(taken):
        raise TypeError(
            f"no option {', '.join(sorted(unknown))}: the {c.decoder} decoder takes num_beams, batch_size"
            f"{', '.join(('', *taken))}; decode(z, return_scores=True) gives scores; max_length is {c.max_length}"
        )
    model.eval()
    _ = model.encoder  # a model that was loaded has the decoder's words from it
    z, size = model.as_tensor(z), 64
    if not taken:
        decode = partial(at_once, model)
    elif search or num_beams > 1:
        decode = partial(searched, model, num_beams, search)
    else:
        fast = len(z) >= MANY and model.dtype == torch.float32 and precision(model.device) == torch.bfloat16
        decode, size = partial(greedy, model, model.decoder.vocabulary.rounded() if fast else None), 512
    memory = None if search else getattr(model.decoder, "memory", None)
    lengths = None if memory is None else memory.lengths(z)
    order = torch.arange(len(z)) if lengths is None else lengths.argsort(stable=True).cpu()
    found: list[list[int]] = [[]] * len(z)
    for rows in split(order, size if batch_size is None else batch_size):
        for k, ids in zip(rows.tolist(), decode(z[rows.to(z.device)]).tolist(), strict=True):
            found[k] = until_end(ids, c.eos_token_id)
    return found


def greedy(model, rounded: Rounded | None, z: Tensor) -> Tensor:
    """The likeliest next piece at each step, (N, at most max_length - 1) int64; after the end token anything."""
    c, vocabulary, inputs = model.config, model.decoder.vocabulary, model.decoder.generator(z)[1]
    return generate(model.decoder, inputs, lambda s, _: vocabulary.likeliest(s, rounded), c.max_length - 1, c)


def searched(model, num_beams: int, search: dict, z: Tensor) -> Tensor:
    """transformers' `generate`, (N, at most max_length - 1) int64; after the end token padding."""
    c = model.config
    same = {key: getattr(c, key) for key in ("max_length", "bos_token_id", "eos_token_id", "pad_token_id")}
    how = GenerationConfig(num_beams=num_beams, use_cache=c.decoder != "lstm", **same, **search)
    lm, inputs = model.decoder.generator(z)
    bos = torch.full((len(z), 1), c.bos_token_id, device=z.device)
    return lm.generate(bos, generation_config=how, **inputs)[:, 1:]


def at_once(model, z: Tensor) -> Tensor:
    """The likeliest piece of each position, (N, max_length - 1) int64."""
    c = model.config
    bos = torch.full((len(z), c.max_length - 1), c.bos_token_id, device=z.device)
    return model.logits(model.decoder.decode_states(z, bos)).argmax(-1)


@torch.no_grad()
def generate(
    decoder, inputs: dict[str, Tensor], next_piece: Callable[[Tensor, Tensor], Tensor], longest: int, config
) -> Tensor:
    """The word pieces of B texts, (B, at most `longest`) int64, without [CLS]; after the end token anything.

    decoder: one with `step`; inputs: what its `generator` gives for B vectors. next_piece: of n texts of the batch, the
    states (n, n_embd) that the output layer reads, and which of the B texts they are, (n,) int64 -> the next word
    piece of each, (n,) int64. config: has bos_token_id and eos_token_id.
    """
    first = next(iter(inputs.values()))
    texts = torch.arange(len(first), device=first.device)  # of the B, those that are in the batch
    made = torch.full((len(texts), longest + 1), config.eos_token_id, device=first.device)
    made[:, 0] = config.bos_token_id
    cache, ended, at = None, torch.zeros_like(texts, dtype=torch.bool), 0
    while at < longest and not ended.all():
        if LEAVE * int(ended.sum()) > len(ended):
            (stay,) = torch.nonzero(~ended, as_tuple=True)
            texts, ended = texts[stay], ended[stay]
            inputs, cache = {name: value[stay] for name, value in inputs.items()}, decoder.select(cache, stay)
        states, cache = decoder.step(made[texts, at : at + 1], inputs, cache)
        at += 1
        made[texts, at] = next_piece(states, texts)
        ended |= made[texts, at] == config.eos_token_id
    return made[:, 1 : at + 1]
