"""Decoders: from the ONE vector back to word pieces.

Each is built from an `InvertibleConfig` and has

- vocabulary, its `TiedVocabulary`: the word embeddings and the output layer;
- decode_states(z, input_ids): vectors (B, D) and the word pieces up to each position (B, T) -> states (B, T, n_embd)
  that the output layer reads;
- generator(z) -> a model with transformers' `generate`, and the inputs that hold the vectors. A decoder without it does
  not generate piece by piece: the likeliest piece of each position is the text;
- with a generator also step(input_ids, inputs, cache): the last word piece of each text (B, 1), the generator's inputs
  and what the last step gave, None at first -> states (B, n_embd) that the output layer reads, and the new cache; and
  select(cache, rows): the cache of the texts whose places in the batch `rows` (n,) int64 holds.

A new one is a class here, with its name in `DECODERS`, and a row in invlib/rows.py.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, GPT2Config, GPT2LMHeadModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from invlib.device import device
from invlib.models.memory import Memory, unit_square
from invlib.models.vocabulary import TiedVocabulary

POSITION_STD, QUERY_STD = 1.0, 0.06  # of `start_at_positions`
START_STD = 0.02  # of a transformer's linear layers (Radford et al., 2019)


class TransformerDecoder(nn.Module):
    """transformers' GPT2LMHeadModel (Radford et al., 2019) with cross-attention to the vector's `Memory`."""

    def __init__(self, config):
        super().__init__()
        self.memory = Memory(config)
        keys = ("vocab_size", "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "bos_token_id", "eos_token_id")
        self.gpt2 = GPT2LMHeadModel(
            GPT2Config(
                **{key: getattr(config, key) for key in keys},
                pad_token_id=None,  # with it transformers warns of padding, which here only ever follows the end
                add_cross_attention=True, tie_word_embeddings=False,
                activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's own, in one kernel
                # for so few tokens the plain product is a quarter of a training step faster on a CPU than the fused one
                attn_implementation="eager" if device().type == "cpu" else "sdpa",
                resid_pdrop=config.dropout, embd_pdrop=config.dropout, attn_pdrop=0.0,
            )
        )  # fmt: skip
        words = self.gpt2.transformer.wte = TiedVocabulary(config.word_embeddings, config)
        del self.gpt2.lm_head  # a module, whose place no function may take
        self.gpt2.lm_head = words.logits
        if config.position_start and config.slots > 1:
            self.start_at_positions()
        for layer in (words.to_decoder, words.to_table) if words.kind == "encoder" else ():
            nn.init.normal_(layer.weight, std=START_STD)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def start_at_positions(self) -> None:
        """Position t of the text looks at slot t of the vector from the start; else K! bindings would have to be tried.

        Position embeddings start equal to the slots', and the first cross-attention's keys equal to its queries.
        """
        positions = self.gpt2.transformer.wpe.weight.normal_(0, POSITION_STD)
        self.memory.slot_embeddings[: len(positions)] = positions[: self.memory.slots]
        attention = self.gpt2.transformer.h[0].crossattention
        attention.q_attn.weight.normal_(0, QUERY_STD)
        attention.c_attn.weight[:, : attention.embed_dim] = attention.q_attn.weight

    @property
    def vocabulary(self) -> TiedVocabulary:
        return self.gpt2.transformer.wte

    def read(self, sentence_embedding: Tensor) -> dict[str, Tensor]:
        """What the cross-attention reads, under the names of transformers."""
        return {"encoder_hidden_states": self.memory(sentence_embedding)}

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor, *hypothesis) -> Tensor:
        return self.gpt2.transformer(
            input_ids=input_ids, use_cache=False, **self.read(sentence_embedding, *hypothesis)
        ).last_hidden_state  # padding follows the text: the causal mask hides it

    def generator(self, sentence_embedding: Tensor, *hypothesis):
        return self.gpt2, self.read(sentence_embedding, *hypothesis)

    def step(self, input_ids: Tensor, inputs: dict[str, Tensor], cache) -> tuple[Tensor, Cache]:
        out = self.gpt2.transformer(input_ids=input_ids, past_key_values=cache, use_cache=True, **inputs)
        return out.last_hidden_state[:, -1], out.past_key_values

    def select(self, cache: Cache, rows: Tensor) -> Cache:
        cache.batch_select_indices(rows)
        return cache


class Hypothesis(NamedTuple):
    """Texts that are to be corrected, as the frozen encoder sees them.

    input_ids, attention_mask (B, T) int64; states (B, T, H), the last layer's; sentence_embedding (B, D).
    """

    input_ids: Tensor
    attention_mask: Tensor
    states: Tensor
    sentence_embedding: Tensor


class CorrectingDecoder(TransformerDecoder):
    """A decoder that reads, beside the vector, a hypothesis for its text: what it says, and where the encoder puts it.

    After the corrector of vec2text (Morris et al., "Text Embeddings Reveal (Almost) As Much As Text", 2023), which sees
    the vector, the hypothesis' vector, their difference, and the hypothesis. Here one network writes the first text
    and corrects it: without a hypothesis it is a `TransformerDecoder`. What reads the difference starts at zero.
    """

    def __init__(self, config):
        super().__init__(config)
        self.difference = nn.Linear(2 * config.embedding_dim, config.expanded_size, bias=False)
        self.states = nn.Linear(config.hidden_size, config.n_embd)
        nn.init.zeros_(self.difference.weight)
        nn.init.normal_(self.states.weight, std=START_STD)
        nn.init.zeros_(self.states.bias)

    def read(self, sentence_embedding: Tensor, hypothesis: Hypothesis | None = None) -> dict[str, Tensor]:
        if hypothesis is None:
            return super().read(sentence_embedding)
        z, theirs = map(unit_square, (sentence_embedding, hypothesis.sentence_embedding.to(sentence_embedding)))
        memory = self.memory(z, self.difference(torch.cat([theirs, unit_square(z - theirs)], dim=-1)))
        # Piece t stands where the decoder, which predicts the next piece, is at position t - 1; [CLS] is left out
        ids, mask = hypothesis.input_ids[:, 1:], hypothesis.attention_mask[:, 1:]
        at = torch.arange(ids.shape[1], device=ids.device)
        pieces = self.vocabulary(ids) + self.states(hypothesis.states[:, 1:].to(memory)) + self.gpt2.transformer.wpe(at)
        every = torch.cat([mask.new_ones(memory.shape[:2]), mask], dim=1)
        return {"encoder_hidden_states": torch.cat([memory, pieces], dim=1), "encoder_attention_mask": every}


class LSTMDecoder(PreTrainedModel, GenerationMixin):
    """The RNN baseline's decoder: a linear map of the vector is its first state; no later step sees the vector.

    The LSTM's weights start as Glorot & Bengio (2010) have it, its biases at 0. It is also the model with `generate`:
    without a cache, each step reads the text so far anew.
    """

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        keys = ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size")
        super().__init__(PretrainedConfig(num_hidden_layers=1, **{key: getattr(config, key) for key in keys}))
        self.start = nn.Linear(config.embedding_dim, 2 * config.n_embd)
        self.vocabulary = TiedVocabulary("own", config)
        self.dropout = nn.Dropout(config.dropout)
        self.lm = nn.ModuleDict({"lstm": nn.LSTM(config.n_embd, config.n_embd, batch_first=True)})
        for name, parameter in self.lm.named_parameters():
            nn.init.xavier_uniform_(parameter) if "weight" in name else nn.init.zeros_(parameter)

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        return self.states(input_ids, self.generator(sentence_embedding)[1]["start"])

    def generator(self, sentence_embedding: Tensor):
        return self, {"start": self.start(sentence_embedding).unflatten(-1, (2, -1))}  # (B, 2, n_embd)

    def states(self, input_ids: Tensor, start: Tensor) -> Tensor:
        """input_ids (B, T), start (B, 2, n_embd): first hidden and cell state -> states (B, T, n_embd)."""
        start = tuple(s.unsqueeze(0).contiguous() for s in start.unbind(1))
        return self.dropout(self.lm["lstm"](self.vocabulary(input_ids), start)[0])

    def step(self, input_ids: Tensor, inputs: dict[str, Tensor], cache) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        cache = tuple(s.unsqueeze(0).contiguous() for s in inputs["start"].unbind(1)) if cache is None else cache
        states, cache = self.lm["lstm"](self.vocabulary(input_ids), cache)
        return self.dropout(states[:, -1]), cache

    def select(self, cache: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(state[:, rows] for state in cache)

    def prepare_inputs_for_generation(self, input_ids, start=None, **kwargs):
        return {"input_ids": input_ids, "start": start}

    def forward(self, input_ids: Tensor, start: Tensor, attention_mask=None, **kwargs) -> CausalLMOutput:
        return CausalLMOutput(logits=self.vocabulary.logits(self.states(input_ids, start)[:, -1:]))  # all that is read


class OnePassDecoder(nn.Module):
    """No autoregression: one projection of the vector plus a position embedding, a two-layer MLP, the tied output.

    No word is told which words its neighbours chose. The linear layers start as torch has them.
    """

    def __init__(self, config):
        super().__init__()
        n = config.n_embd
        self.proj = nn.Linear(config.embedding_dim, n)
        self.positions = nn.Parameter(torch.empty(config.max_length, n).normal_(0, 0.02))
        self.mlp = nn.Sequential(
            nn.LayerNorm(n), nn.Linear(n, config.n_inner), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.n_inner, n), nn.LayerNorm(n),
        )  # fmt: skip
        self.vocabulary = TiedVocabulary(config.word_embeddings, config)
        if config.word_embeddings == "encoder":
            self.vocabulary.to_decoder.requires_grad_(False)  # no word is ever read here: nothing to learn or to count

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        positions = self.positions[: input_ids.shape[1]]  # all that `input_ids` is read for
        return self.mlp(self.proj(sentence_embedding).unsqueeze(1) + positions)


DECODERS: dict[str, Any] = {
    "transformer": TransformerDecoder,
    "correcting": CorrectingDecoder,
    "lstm": LSTMDecoder,
    "one_pass": OnePassDecoder,
}
