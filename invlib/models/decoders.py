"""Decoders: from the ONE vector back to word pieces.

All are a `Decoder`:

- TransformerDecoder: transformers' GPT-2 with cross-attention to K memory tokens that are cut from the vector;
- LSTMDecoder: the RNN baseline, started from the vector and never shown it again;
- OnePassDecoder: all positions read off the vector at once, no autoregression.

A new one is a subclass of `Decoder` here, and a row in invlib/rows.py.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, GPT2Config, GPT2LMHeadModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from invlib.models.code_layout import deinterleave, length_size, read_length
from invlib.settings import device

POSITION_STD, QUERY_STD = 1.0, 0.06  # of `start_at_positions`
START_STD = 0.02  # of a transformer's linear layers (Radford et al., 2019)


class Decoder(nn.Module):
    """Base class. Defining a subclass registers it under its `kind`, which invlib/rows.py and a config name.

    The constructor takes an `InvertibleConfig`; `vocabulary` holds the word embeddings and the output layer.
    """

    kind: ClassVar[str]
    vocabulary: "TiedVocabulary"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        DECODERS[cls.kind] = cls

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        """(B, D), the word pieces before each position (B, T) -> states (B, T, n_embd) that the output layer reads."""
        raise NotImplementedError

    def generator(self, sentence_embedding: Tensor) -> tuple[PreTrainedModel, dict] | None:
        """A model with transformers' `generate`, and the inputs that hold the vector, (B, D).

        None where a text is not generated piece by piece: the likeliest piece of each position is the text.
        """
        raise NotImplementedError


DECODERS: dict[str, type[Decoder]] = {}


class TiedVocabulary(nn.Module):
    """Word embeddings and output layer in one: logits = project(states) @ E^T + bias.

    'encoder': E is the frozen encoder's table (V, H) seen through a learned projection, and no weight of the
    checkpoint; 'own': E is learned, (V, n_embd), the deck's way (tied as in Press & Wolf, 2017).
    """

    def __init__(self, kind: str, vocab_size: int, hidden_size: int, n_embd: int):
        super().__init__()
        self.kind = kind
        if kind == "encoder":
            self.register_buffer("table", torch.zeros(vocab_size, hidden_size), persistent=False)
            self.to_decoder = nn.Linear(hidden_size, n_embd)
            self.to_table = nn.Linear(n_embd, hidden_size)
        elif kind == "own":
            # As small as an output layer has to start, and read at sqrt(n_embd) times that: an LSTM would not hear 0.02
            # (Vaswani et al., "Attention Is All You Need", 2017, section 3.4)
            self.weight = nn.Parameter(torch.empty(vocab_size, n_embd).normal_(0, n_embd**-0.5))
        else:
            raise ValueError(f"unknown word_embeddings {kind!r}; choose encoder or own")
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def set_table(self, word_embeddings: Tensor) -> None:
        """Give the frozen table, (V, H); scaled so that its rows have unit variance on the average."""
        if self.kind == "encoder":
            table = word_embeddings.detach().float()
            self.table = (table / table.std()).to(self.bias)

    @torch.no_grad()
    def start_at(self, std: float) -> None:
        """Start the two projections, where it has them, at normal weights of this standard deviation, biases 0."""
        if self.kind == "encoder":
            for layer in (self.to_decoder, self.to_table):
                layer.weight.normal_(0, std)
                layer.bias.zero_()

    @torch.no_grad()
    def start_at_frequencies(self, counts: Tensor) -> None:
        """Start the output's bias at the log-frequency of each word piece, counts (V,).

        Else the first hundred steps learn just that, and an LSTM encoder, whose vector they push all one way, is
        saturated before it has told two sentences apart.
        """
        smoothed = counts.to(self.bias) + 0.1  # a piece that never occurred stays possible
        self.bias.copy_((smoothed / smoothed.sum()).log())

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, T) -> embeddings (B, T, n_embd)."""
        if self.kind == "own":
            return nn.functional.embedding(input_ids, self.weight) * self.weight.shape[1] ** 0.5
        return self.to_decoder(nn.functional.embedding(input_ids, self.table))

    def logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """states (..., n_embd) -> logits (..., V), or (..., C) for the C word pieces in `candidates`."""
        table, bias = (self.weight if self.kind == "own" else self.table), self.bias
        if candidates is not None:
            table, bias = table[candidates], bias[candidates]
        if self.kind == "encoder":
            states = self.to_table(states)
            table = table / table.shape[-1] ** 0.5
        return nn.functional.linear(states, table.to(states.dtype), bias.to(states.dtype))


class Memory(nn.Module):
    """Cuts the vector into K slots and makes each a memory token: (B, D) -> (B, K, n_embd).

    One shared linear layer (none where the slot is as wide as the decoder), and a learned embedding that tells the
    slots apart where there are several. Of a vector with a semantic prefix the code alone is cut; the prefix becomes
    one memory token before the slots', (B, 1 + K, n_embd).
    """

    def __init__(
        self, embedding_dim: int, slots: int, n_embd: int, prefix_size: int = 0, code_weight: float = 1.0,
        numbers_per_piece: int = 0,
    ):  # fmt: skip
        super().__init__()
        code_size = embedding_dim - prefix_size
        if code_size < slots or (not numbers_per_piece and code_size % slots):
            raise ValueError(f"a vector of {code_size} numbers can't be cut into {slots} equal slots")
        self.numbers_per_piece = numbers_per_piece
        self.slots, self.prefix_size = slots, prefix_size
        self.code_scale = code_size**0.5 / code_weight if prefix_size else 1.0  # back to a mean square of 1
        self.prefix = nn.Linear(prefix_size, n_embd) if prefix_size else None
        width = numbers_per_piece or code_size // slots
        self.linear = nn.Identity() if width == n_embd else nn.Linear(width, n_embd)
        self.slot_embeddings = nn.Parameter(torch.empty(slots, n_embd).normal_(0, 0.02)) if slots > 1 else None

    def forward(self, sentence_embedding: Tensor) -> Tensor:
        prefix, code = sentence_embedding[:, : self.prefix_size], sentence_embedding[:, self.prefix_size :]
        code = self.code_scale * code
        if self.numbers_per_piece:
            size = length_size(self.slots)
            lengths = read_length(code[:, :size], self.slots)
            slots = deinterleave(code[:, size:], lengths, self.slots, self.numbers_per_piece)
        else:
            slots = code.unflatten(-1, (self.slots, -1))
        memory = self.linear(slots)  # (B, K, n_embd)
        memory = memory if self.slot_embeddings is None else memory + self.slot_embeddings
        if self.prefix is None:
            return memory
        return torch.cat([self.prefix(self.prefix_size**0.5 * prefix).unsqueeze(1), memory], dim=1)


class TransformerDecoder(Decoder):
    """transformers' GPT2LMHeadModel (Radford et al., 2019) with cross-attention to the vector's memory tokens."""

    kind = "transformer"

    def __init__(self, config):
        super().__init__()
        keys = ("embedding_dim", "slots", "n_embd", "prefix_size", "code_weight", "numbers_per_piece")
        self.memory = Memory(**{key: getattr(config, key) for key in keys})
        self.gpt2 = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=config.vocab_size,
                n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head, n_inner=config.n_inner,
                n_positions=config.n_positions, add_cross_attention=True, tie_word_embeddings=False,
                # for so few tokens the plain product is a quarter of a training step faster on a CPU than the fused one
                attn_implementation="eager" if device().type == "cpu" else "sdpa",
                resid_pdrop=config.dropout, embd_pdrop=config.dropout, attn_pdrop=0.0,
                bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id,
                pad_token_id=None,  # with it transformers warns of padding, which here only ever follows the end
            )
        )  # fmt: skip
        self.gpt2.transformer.wte = TiedVocabulary(
            config.word_embeddings, config.vocab_size, config.hidden_size, config.n_embd
        )
        del self.gpt2.lm_head  # a module, whose place no function may take
        self.gpt2.lm_head = self.vocabulary.logits
        if config.position_start:
            self.start_at_positions()
        self.vocabulary.start_at(START_STD)

    @torch.no_grad()
    def start_at_positions(self) -> None:
        """Position t of the text starts out alike to slot t of the vector, so that it looks there from the start.

        The position embeddings start equal to the slots', and in the first layer's cross-attention keys equal queries:
        what is alike attends to each other. Else the decoder has to find this binding among K! others.
        """
        positions = self.gpt2.transformer.wpe.weight.normal_(0, POSITION_STD)
        self.memory.slot_embeddings.copy_(positions[: self.memory.slots])
        attention = self.gpt2.transformer.h[0].crossattention
        n = attention.embed_dim
        attention.q_attn.weight.normal_(0, QUERY_STD)
        attention.c_attn.weight[:, :n] = attention.q_attn.weight

    @property
    def vocabulary(self) -> TiedVocabulary:
        return self.gpt2.transformer.wte

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        return self.gpt2.transformer(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),  # padding follows the text: the causal mask hides it already
            encoder_hidden_states=self.memory(sentence_embedding),
            use_cache=False,
        ).last_hidden_state

    def generator(self, sentence_embedding: Tensor):
        return self.gpt2, {"encoder_hidden_states": self.memory(sentence_embedding)}


class LSTMGenerator(PreTrainedModel, GenerationMixin):
    """The LSTM as transformers' `generate` wants it: without a cache, each step reads the prefix anew."""

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config: PretrainedConfig, n_embd: int):
        super().__init__(config)
        self.lstm = nn.LSTM(n_embd, n_embd, batch_first=True)
        self.vocabulary: list[TiedVocabulary] = []

    def states(self, input_ids: Tensor, start: Tensor) -> Tensor:
        """input_ids (B, T), start (B, 2, n_embd): first hidden and cell state -> states (B, T, n_embd)."""
        hidden, cell = (s.unsqueeze(0).contiguous() for s in start.unbind(1))
        return self.lstm(self.vocabulary[0](input_ids), (hidden, cell))[0]

    def prepare_inputs_for_generation(self, input_ids, start=None, **kwargs):
        return {"input_ids": input_ids, "start": start}

    def forward(self, input_ids: Tensor, start: Tensor, attention_mask=None, **kwargs) -> CausalLMOutput:
        last = self.states(input_ids, start)[:, -1:]  # all that `generate` reads
        return CausalLMOutput(logits=self.vocabulary[0].logits(last))


class LSTMDecoder(Decoder):
    """The RNN baseline's decoder: a linear map of the vector is its first state, and it is fed it at no later step.

    The LSTM's weights start as Glorot & Bengio (2010) have it, its biases at 0.
    """

    kind = "lstm"

    def __init__(self, config):
        super().__init__()
        self.start = nn.Linear(config.embedding_dim, 2 * config.n_embd)
        self.vocabulary = TiedVocabulary("own", config.vocab_size, config.hidden_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        inner = PretrainedConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id,
            vocab_size=config.vocab_size, is_encoder_decoder=False, use_cache=False, num_hidden_layers=1,
        )  # fmt: skip
        self.lm = LSTMGenerator(inner, config.n_embd)
        self.lm.vocabulary = [self.vocabulary]
        for name, parameter in self.lm.lstm.named_parameters():
            nn.init.xavier_uniform_(parameter) if "weight" in name else nn.init.zeros_(parameter)

    def start_states(self, sentence_embedding: Tensor) -> Tensor:
        return self.start(sentence_embedding).unflatten(-1, (2, -1))  # (B, 2, n_embd)

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        return self.dropout(self.lm.states(input_ids, self.start_states(sentence_embedding)))

    def generator(self, sentence_embedding: Tensor):
        return self.lm, {"start": self.start_states(sentence_embedding)}


class OnePassDecoder(Decoder):
    """No autoregression: one projection of the vector plus a position embedding, a two-layer MLP, the tied output.

    Position t is read off the vector alone; no word is told which words its neighbours chose. Its linear layers start
    as torch has them, uniform within one over the root of their input size.
    """

    kind = "one_pass"

    def __init__(self, config):
        super().__init__()
        n = config.n_embd
        self.proj = nn.Linear(config.embedding_dim, n)
        self.positions = nn.Parameter(torch.empty(config.max_length, n).normal_(0, 0.02))
        self.mlp = nn.Sequential(
            nn.LayerNorm(n), nn.Linear(n, config.n_inner), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.n_inner, n), nn.LayerNorm(n),
        )  # fmt: skip
        self.vocabulary = TiedVocabulary(config.word_embeddings, config.vocab_size, config.hidden_size, n)
        if config.word_embeddings == "encoder":
            self.vocabulary.to_decoder.requires_grad_(False)  # no word is ever read here: nothing to learn or to count

    def decode_states(self, sentence_embedding: Tensor, input_ids: Tensor) -> Tensor:
        positions = self.positions[: input_ids.shape[1]]  # all that `input_ids` is read for
        return self.mlp(self.proj(sentence_embedding).unsqueeze(1) + positions)

    def generator(self, sentence_embedding: Tensor):
        return None


def build_decoder(config) -> Decoder:
    """The decoder that an `InvertibleConfig` names."""
    if config.decoder not in DECODERS:
        raise ValueError(f"unknown decoder {config.decoder!r}; choose {', '.join(DECODERS)}")
    return DECODERS[config.decoder](config)
