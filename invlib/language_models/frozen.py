"""Frozen causal language models, by hub name or folder, and what they make of texts."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from invlib.encoders.frozen import hash_weights
from invlib.encoders.hub import hub_folder, quiet_loading
from invlib.models.model import until_end
from invlib.settings import device

OFFLINE = "the project's own (train_language_model)"


class FrozenLM:
    """A causal language model in evaluation mode whose weights never change, with its tokenizer.

    A text's ids are its pieces and the end token. What stands before them is the begin token or, in its place,
    vectors: the model's own context then is what the vectors say.
    """

    def __init__(self, name: str, model, tokenizer):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.hidden_size: int = model.get_input_embeddings().weight.shape[1]
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self.max_length: int = getattr(model.config, "max_position_embeddings", None) or 2048
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        if end is None:
            raise ValueError(f"the tokenizer of {name!r} has no end token; without one nobody knows where a text ends")
        self.eos_token_id: int = end
        self.bos_token_id: int = end if begin is None else begin  # GPT-2 begins a text where another has ended
        unknown = tokenizer.unk_token_id
        self.unk_token_id = None if unknown == end else unknown  # Pythia writes both as one
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self.hash = hash_weights(model, tokenizer)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def embeddings(self) -> Tensor:
        """The table of the model's input embeddings, (V, H)."""
        return self.model.get_input_embeddings().weight

    def ids(self, texts: Sequence[str] | Sequence[list[int]]) -> list[list[int]]:
        """Each text's pieces and the end token; lists of ids stay as they are. ValueError for what is empty."""
        if isinstance(texts, str):
            raise ValueError(f"expected a list of texts, got one string; write [{texts[:40]!r}]")
        out = []
        for i, text in enumerate(texts):
            if isinstance(text, str):
                text = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.eos_token_id]
            text = [int(k) for k in text]
            if not text or text == [self.eos_token_id]:
                raise ValueError(f"text {i} is empty; give at least one word")
            out.append(text)
        return out

    def text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of ids, without the end token."""
        silent = {self.bos_token_id, self.eos_token_id, self.tokenizer.pad_token_id}
        return [self.tokenizer.decode([i for i in row if i not in silent]) for row in ids]

    def states(self, inputs_embeds: Tensor, n: int) -> Tensor:
        """The last n positions' states, of which `head` makes logits, (B, T, H) -> (B, n, H)."""
        inputs_embeds = inputs_embeds.to(self.model.dtype)
        return self.model.base_model(inputs_embeds=inputs_embeds, use_cache=False).last_hidden_state[:, -n:]

    def head(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Logits of states (..., H) over all tokens, (..., V), or over `candidates` (C,) alone; float32 at least."""
        layer = self.model.get_output_embeddings()
        if candidates is None:
            return at_least_float32(layer(states))
        bias = None if layer.bias is None else layer.bias[candidates]
        return at_least_float32(F.linear(states, layer.weight[candidates], bias))

    def embed(self, input_ids: Tensor) -> Tensor:
        """ids (B, T) -> input embeddings (B, T, H)."""
        return self.model.get_input_embeddings()(input_ids)

    def scores(self, texts: Sequence[str] | Sequence[list[int]], batch_size: int = 64) -> pd.DataFrame:
        """What the model makes of texts by itself, after the begin token: `unconditional_scores` of their ids."""
        return unconditional_scores(self.model, self.ids(texts), self.bos_token_id, batch_size)

    @torch.no_grad()
    def generate_ids(self, vectors: Tensor, longest: int, batch_size: int = 64) -> list[list[int]]:
        """Greedy text after vectors (N, K, H), which stand at the first K positions: at most `longest` ids each.

        The end token is kept where it was said, and nothing after it.
        """
        from transformers import GenerationConfig

        search = GenerationConfig(
            max_new_tokens=longest, do_sample=False, bos_token_id=self.bos_token_id, eos_token_id=self.eos_token_id,
            pad_token_id=self.eos_token_id,
        )  # fmt: skip
        out = []
        for part in vectors.split(batch_size):
            part = part.to(self.device, self.model.dtype)
            mask = torch.ones(part.shape[:2], dtype=torch.int64, device=self.device)
            said = self.model.generate(inputs_embeds=part, attention_mask=mask, generation_config=search)
            out += [until_end(row, self.eos_token_id) for row in said.tolist()]
        return out


def padded(ids: Sequence[Sequence[int]], where: torch.device | str = "cpu") -> Tensor:
    """Lists of ids -> (B, T) int64, -100 after each one's end."""
    labels = torch.full((len(ids), max(map(len, ids))), -100, dtype=torch.int64)
    for k, row in enumerate(ids):
        labels[k, : len(row)] = torch.tensor(row)
    return labels.to(where)


def token_scores(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats and whether the label is the most likely one, (B, T) each; 0 and False at padding (-100).

    logits (B, T, V), labels (B, T).
    """
    nats = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    return nats.view_as(labels), logits.detach().argmax(-1) == labels


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32 at least."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


@torch.no_grad()
def unconditional_scores(model, ids: Sequence[Sequence[int]], bos_token_id: int, batch_size: int = 64) -> pd.DataFrame:
    """What a causal LM makes of texts after the begin token, one row a text.

    tokens, nats (cross-entropy, summed over the tokens, end token included), correct (tokens that are the most likely
    ones, the true ones before them given).
    """
    rows = []
    for start in range(0, len(ids), batch_size):
        labels = padded(ids[start : start + batch_size], model.device)
        begin = torch.full_like(labels[:, :1], bos_token_id)
        before = torch.cat([begin, labels[:, :-1].clamp(min=0)], 1)
        nats, right = token_scores(at_least_float32(model(input_ids=before, use_cache=False).logits), labels)
        rows += zip((labels >= 0).sum(1).tolist(), nats.sum(1).tolist(), right.sum(1).tolist(), strict=True)
    return pd.DataFrame(rows, columns=["tokens", "nats", "correct"])


@lru_cache(maxsize=4)
def load_causal_lm(name: str, dtype: torch.dtype = torch.float32) -> FrozenLM:
    """A frozen causal LM by hub name ('EleutherAI/pythia-160m') or local folder.

    FileNotFoundError where there is no such model; ValueError for a model that is no causal LM.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = hub_folder(str(name), "language model", OFFLINE)
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"{str(name)!r} is no causal language model: {str(error).splitlines()[0]}") from error
    lm = FrozenLM(Path(name).name, model.to(device()), AutoTokenizer.from_pretrained(folder))
    if is_bidirectional(lm):
        raise ValueError(f"{str(name)!r} is no causal language model: what it says depends on what comes after")
    if not has_linear_head(lm):
        raise ValueError(f"{str(name)!r} does more to its last states than one linear layer; choose another model")
    return lm


@torch.no_grad()
def is_bidirectional(lm: FrozenLM) -> bool:
    """Whether what the model says at a place depends on a later token, as it does in an encoder."""
    ids = torch.tensor([[lm.bos_token_id, k % lm.vocab_size] for k in (lm.eos_token_id + 1, lm.eos_token_id + 2)])
    first = lm.model(input_ids=ids.to(lm.device)).logits[:, 0].float()
    return not torch.allclose(first[0], first[1], rtol=1e-2, atol=1e-2)


@torch.no_grad()
def has_linear_head(lm: FrozenLM) -> bool:
    """Whether the model's logits are `FrozenLM.head` of its states: some scale or cap them."""
    ids = torch.tensor([[lm.bos_token_id, lm.eos_token_id]], device=lm.device)
    logits = at_least_float32(lm.model(input_ids=ids).logits)
    return torch.allclose(lm.head(lm.states(lm.embed(ids), 2)), logits, rtol=1e-2, atol=1e-2)
