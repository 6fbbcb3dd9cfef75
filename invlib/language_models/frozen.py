"""Frozen causal language models, by hub name or folder: their states, predictions and cross-entropies."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from invlib.device import device
from invlib.encoders.frozen import hash_weights
from invlib.encoders.hub import hub_folder, quiet_loading
from invlib.encoders.word_pieces import listed
from invlib.models.codec import until_end

OFFLINE = "the project's own (train_language_model)"


class FrozenLM:
    """A causal language model in evaluation mode whose weights never change, with its tokenizer.

    A text's ids are its pieces and the end token. Before them the model reads the begin token or, instead of it,
    fitted vectors.
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
            raise ValueError(
                f"the tokenizer of {name!r} has no end token, so that no text would end; "
                "choose a model whose tokenizer has eos_token or sep_token"
            )
        self.eos_token_id: int = end
        self.bos_token_id: int = end if begin is None else begin  # GPT-2 has one token for both
        unknown = tokenizer.unk_token_id
        self.unk_token_id = None if unknown == end else unknown  # Pythia uses one token for both
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self.hash = hash_weights(model, tokenizer)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def embeddings(self) -> Tensor:
        """The table of the model's input embeddings, (V, H)."""
        return self.model.get_input_embeddings().weight

    def ids(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> list[list[int]]:
        """Each text's pieces and the end token; lists of ids stay as they are.

        ValueError for what is no list of texts, and for an empty text.
        """
        if isinstance(texts, list) and all(isinstance(text, list) for text in texts):
            out = [[int(k) for k in text] for text in texts]
        else:
            rows = self.tokenizer(listed(texts), add_special_tokens=False, verbose=False)["input_ids"]
            out = [[*row, self.eos_token_id] for row in rows]
        for i, ids in enumerate(out):
            if not ids or ids == [self.eos_token_id]:
                raise ValueError(f"text {i} is empty; give at least one word")
        return out

    def text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of ids, without begin, end and padding tokens."""
        hidden = {self.bos_token_id, self.eos_token_id, self.tokenizer.pad_token_id}
        return [self.tokenizer.decode([i for i in row if i not in hidden]) for row in ids]

    def states(self, inputs_embeds: Tensor, n: int) -> Tensor:
        """The last n positions' states, from which `head` makes logits, (B, T, H) -> (B, n, H)."""
        inputs_embeds = inputs_embeds.to(self.model.dtype)
        return self.model.base_model(inputs_embeds=inputs_embeds, use_cache=False).last_hidden_state[:, -n:]

    def head(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Logits of states (..., H) over the vocabulary, (..., V), or over `candidates` (C,); float32 at least."""
        layer = self.model.get_output_embeddings()
        if candidates is None:
            return at_least_float32(layer(states))
        bias = None if layer.bias is None else layer.bias[candidates]
        return at_least_float32(F.linear(states, layer.weight[candidates], bias))

    def embed(self, input_ids: Tensor) -> Tensor:
        """ids (B, T) -> input embeddings (B, T, H)."""
        return self.model.get_input_embeddings()(input_ids)

    def scores(self, texts: Sequence[str] | Sequence[Sequence[int]], batch_size: int = 64) -> pd.DataFrame:
        """`unconditional_scores` of texts: the model's predictions after the begin token."""
        return unconditional_scores(self.model, self.ids(texts), self.bos_token_id, batch_size)

    @torch.no_grad()
    def generate_ids(self, vectors: Tensor, longest: int, batch_size: int = 64) -> list[list[int]]:
        """Greedy search after vectors (N, K, H) at the first K positions: at most `longest` ids for each.

        They end with the end token where it was generated.
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
            generated = self.model.generate(inputs_embeds=part, attention_mask=mask, generation_config=search)
            out += [until_end(row, self.eos_token_id) for row in generated.tolist()]
        return out


def padded(ids: Sequence[Sequence[int]], where: torch.device | str = "cpu") -> Tensor:
    """Lists of ids -> (B, T) int64, -100 after each one's end."""
    rows = [torch.as_tensor(row, dtype=torch.int64) for row in ids]
    return pad_sequence(rows, batch_first=True, padding_value=-100).to(where)


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32, or in float64 if they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.no_grad()
def teacher_forced_scores(
    ids: Sequence[Sequence[int]], logits_of: Callable[[slice, Tensor], Tensor], where: torch.device, batch_size: int
) -> pd.DataFrame:
    """Predictions of each token with the true tokens before it, one line a text.

    logits_of(which texts, labels (B, T), -100 after a text's end) -> logits (B, T, V). Returns tokens (with the end
    token), nats (cross-entropy, summed over tokens) and correct (tokens that are the most likely ones).
    """
    rows: list = []
    for start in range(0, len(ids), batch_size):
        part = slice(start, start + batch_size)
        labels = padded(ids[part], where)
        logits = logits_of(part, labels)
        nats = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
        columns = labels >= 0, nats.view_as(labels), logits.argmax(-1) == labels
        rows += zip(*(column.sum(1).tolist() for column in columns), strict=True)
    return pd.DataFrame(rows, columns=["tokens", "nats", "correct"])


def unconditional_scores(model, ids: Sequence[Sequence[int]], bos_token_id: int, batch_size: int = 64) -> pd.DataFrame:
    """`teacher_forced_scores` of a causal language model after the begin token."""

    def logits_of(_, labels: Tensor) -> Tensor:
        inputs = F.pad(labels[:, :-1].clamp(min=0), (1, 0), value=bos_token_id)
        return at_least_float32(model(input_ids=inputs, use_cache=False).logits)

    return teacher_forced_scores(ids, logits_of, model.device, batch_size)


@lru_cache(maxsize=4)
def load_causal_lm(name: str, dtype: torch.dtype = torch.float32) -> FrozenLM:
    """A frozen causal LM by hub name ('EleutherAI/pythia-160m') or local folder.

    FileNotFoundError where there is no such model; ValueError for a model that is not causal.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = hub_folder(str(name), "language model", OFFLINE)
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"{str(name)!r} is no causal language model: {str(error).splitlines()[0]}") from error
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)  # a typed "[SEP]" is plain text
    lm = FrozenLM(Path(name).name, model.to(device()), tokenizer)
    if is_bidirectional(lm):
        raise ValueError(f"{str(name)!r} is no causal language model: its predictions depend on later tokens")
    if not has_linear_head(lm):
        raise ValueError(
            f"{str(name)!r} computes its logits by more than one linear layer of its last states; choose another model"
        )
    return lm


@torch.no_grad()
def is_bidirectional(lm: FrozenLM) -> bool:
    """Whether the model's predictions depend on later tokens, as an encoder's do."""
    ids = torch.tensor([[lm.bos_token_id, k % lm.vocab_size] for k in (lm.eos_token_id + 1, lm.eos_token_id + 2)])
    first = lm.model(input_ids=ids.to(lm.device)).logits[:, 0].float()
    return not torch.allclose(first[0], first[1], rtol=1e-2, atol=1e-2)


@torch.no_grad()
def has_linear_head(lm: FrozenLM) -> bool:
    """Whether the model's logits are `FrozenLM.head` of its states: some models scale or cap them."""
    ids = torch.tensor([[lm.bos_token_id, lm.eos_token_id]], device=lm.device)
    logits = at_least_float32(lm.model(input_ids=ids).logits)
    return torch.allclose(lm.head(lm.states(lm.embed(ids), 2)), logits, rtol=1e-2, atol=1e-2)
