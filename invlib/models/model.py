"""One model class for every learned row of the study: frozen encoder -> pooling -> ONE vector -> decoder."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from invlib import paths
from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.models.decoders import build_decoder
from invlib.models.pooling import build_pooling
from invlib.settings import Settings, device

SHAPES = {  # row id -> (pooling, decoder)
    "rnn": ("rnn", "lstm"),
    "encoder_only": ("attention", "one_pass"),
    "cls_decoder": ("cls", "transformer"),
    "att_pool": ("attention", "transformer"),
    "multi_query": ("multi_query", "transformer"),
    "hybrid": ("hybrid", "transformer"),
    "no_vector": ("constant", "transformer"),
}


class InvertibleConfig(PretrainedConfig):
    """Everything that a model's shape depends on. The frozen encoder is named and hashed, never stored."""

    model_type = "invertible_sentence"

    def __init__(
        self, row="att_pool", pooling="attention", decoder="transformer", encoder="minilm", encoder_hash=None,
        encoder_layers=("last",), hidden_size=384, vocab_size=30522, embedding_dim=768, slots=1, prefix_size=0,
        code_weight=1.0, position_start=False, numbers_per_piece=0, n_embd=256,
        n_layer=2, n_head=4, n_inner=1024, n_positions=64, word_embeddings="encoder", dropout=0.1, max_length=40,
        bos_token_id=101, eos_token_id=102, pad_token_id=0, unk_token_id=100, **kwargs,
    ):  # fmt: skip
        values = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        special = {k: values.pop(k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
        super().__init__(**special, **kwargs)
        for name, value in {**values, **special}.items():
            setattr(self, name, list(value) if name == "encoder_layers" else value)


def prefix_size(embedding_dim: int, slots: int) -> int:
    """hybrid's semantic prefix: at least a third of the vector, such that the rest fills the slots evenly."""
    return embedding_dim - (embedding_dim - -(-embedding_dim // 3)) // slots * slots


CONFIG_FIELDS = [n for n in inspect.signature(InvertibleConfig.__init__).parameters if n not in ("self", "kwargs")]


def model_config(settings: Settings, hidden_size: int = 384, **encoder) -> InvertibleConfig:
    """The shape of the model that `settings` names; `encoder` holds its name, hash, vocabulary size and special ids."""
    s = settings
    pooling, decoder = SHAPES[s.row]
    if s.row == "no_vector" and s.variant in ("rnn", "encoder_only"):
        decoder = SHAPES[s.variant][1]
    by_query = s.row in ("multi_query", "hybrid")
    numbers_per_piece = s.numbers_per_piece if by_query else 0
    slots = s.max_length - 1 if numbers_per_piece else s.queries if by_query else s.slots
    prefix = 0
    if s.row == "hybrid":
        prefix = s.prefix_size or min(prefix_size(s.embedding_dim, s.queries), hidden_size)
    return InvertibleConfig(
        row=s.row, pooling=pooling, decoder=decoder, embedding_dim=s.embedding_dim, slots=slots,
        encoder_layers=s.encoder_layers, prefix_size=prefix, code_weight=s.code_weight if prefix else 1.0,
        position_start=by_query and s.position_start, numbers_per_piece=numbers_per_piece,
        n_embd=s.n_embd or s.embedding_dim, n_layer=s.n_layer, n_head=s.n_head, n_inner=s.n_inner,
        n_positions=s.n_positions, word_embeddings=s.word_embeddings, dropout=s.dropout, max_length=s.max_length,
        hidden_size=hidden_size, **encoder,
    )  # fmt: skip


def build_model(settings: Settings, encoder: FrozenEncoder) -> "InvertibleSentenceModel":
    """A fresh, untrained model of the row that `settings` names."""
    config = model_config(
        settings, encoder=encoder.name, encoder_hash=encoder.hash, hidden_size=encoder.hidden_size,
        vocab_size=encoder.vocab_size, bos_token_id=encoder.bos_token_id, eos_token_id=encoder.eos_token_id,
        pad_token_id=encoder.pad_token_id, unk_token_id=encoder.unk_token_id,
    )  # fmt: skip
    model = InvertibleSentenceModel(config)
    model.use_encoder(encoder)
    return model.to(device())


class InvertibleSentenceModel(PreTrainedModel):
    """`encode` sentences into (N, D) vectors and `decode` vectors back into text.

    The frozen encoder is no submodule: it is loaded by name on first use, checked against its hash, shared between
    models and left out of checkpoints.
    """

    config_class = InvertibleConfig
    main_input_name = "input_ids"

    def __init__(self, config: InvertibleConfig):
        super().__init__(config)
        self.pooling = build_pooling(config)
        self.decoder = build_decoder(config)
        self._encoder: list[FrozenEncoder] = []
        self.folder: Path | None = None  # where it was saved or loaded last
        self.post_init()

    def _init_weights(self, module):
        """Every module above starts its own weights."""

    # The frozen encoder

    @property
    def encoder(self) -> FrozenEncoder:
        if not self._encoder:
            self.use_encoder(load_encoder(self.config.encoder))
        return self._encoder[0]

    def use_encoder(self, encoder: FrozenEncoder) -> None:
        """Give the frozen encoder; ValueError where it is not the one that the model was trained on."""
        if self.config.encoder_hash not in (None, encoder.hash):
            raise ValueError(
                f"this model was trained on encoder {self.config.encoder!r} ({self.config.encoder_hash}), "
                f"got {encoder.name!r} ({encoder.hash}); load the encoder it names"
            )
        self._encoder = [encoder]
        self.decoder.vocabulary.set_table(encoder.word_embeddings)

    def check_words(self) -> None:
        """A model that was loaded has no word embeddings before the frozen encoder gave them: it is loaded here."""
        if self.config.word_embeddings == "encoder" and self.config.decoder != "lstm" and not self._encoder:
            _ = self.encoder

    @property
    def reads_states(self) -> bool:
        """Whether the pooling reads the frozen encoder's token states (the RNN and the constant do not)."""
        return self.config.pooling not in ("rnn", "constant")

    @property
    def reads_layers(self) -> tuple[str, ...]:
        """The encoder's layers that the pooling reads, side by side in this order; () where it reads none."""
        return tuple(self.config.encoder_layers) if self.reads_states else ()

    # Training's face

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """input_ids, attention_mask (B, T), token_embeddings (B, T, H * layers) -> sentence_embedding (B, D)."""
        features = {k: batch[k] for k in ("input_ids", "attention_mask", "token_embeddings") if k in batch}
        return self.pooling(features)["sentence_embedding"]

    def forward(self, input_ids, attention_mask, token_embeddings=None, sentence_embedding=None, **_) -> dict:
        """Teacher-forced states of the decoder.

        input_ids, attention_mask (B, T) int64; token_embeddings (B, T, H * layers); `sentence_embedding` (B, D) takes
        the place of the pooled one. Returns sentence_embedding (B, D), states (N, n_embd) and labels (N,) of the
        N positions that have a label: every word piece after [CLS], the end token included, no padding.
        """
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_embeddings is not None:
            batch["token_embeddings"] = token_embeddings
        z = self.pool(batch) if sentence_embedding is None else sentence_embedding
        self.check_words()
        states = self.decoder.decode_states(z, input_ids[:, :-1])  # (B, T - 1, n_embd)
        labelled = attention_mask[:, 1:].bool()
        return {"sentence_embedding": z, "states": states[labelled], "labels": input_ids[:, 1:][labelled]}

    def logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        return self.decoder.vocabulary.logits(states, candidates)

    # The library's face

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Sentences -> (N, D) float32. ValueError for an empty sentence or one that is too long."""
        self.eval()
        texts = self.encoder.check_texts(texts, self.config.max_length)
        out = [np.zeros((0, self.config.embedding_dim), dtype=np.float32)]
        for start in range(0, len(texts), batch_size):
            batch = self.encoder.tokenize(texts[start : start + batch_size], self.config.max_length)
            if self.reads_states:
                batch["token_embeddings"] = self.encoder.token_embeddings(**batch, layers=self.reads_layers)
            batch = {k: v.to(self.device) for k, v in batch.items()}
            out.append(self.pool(batch).float().cpu().numpy())
        return np.concatenate(out)

    def check_vectors(self, z) -> Tensor:
        """The vectors as a (N, D) float32 tensor; ValueError for a wrong width, a wrong shape, NaN or infinity."""
        try:
            z = torch.as_tensor(np.asarray(z, dtype=np.float32) if not isinstance(z, Tensor) else z).float()
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected an array of numbers (N, {self.config.embedding_dim}): {error}") from error
        if z.ndim != 2 or z.shape[1] != self.config.embedding_dim:
            raise ValueError(
                f"expected vectors of shape (N, {self.config.embedding_dim}), got {tuple(z.shape)}; "
                "decode what this model's encode gave"
            )
        bad = (~torch.isfinite(z)).any(1).nonzero().flatten().tolist()
        if bad:
            raise ValueError(f"vectors {bad[:5]} hold NaN or infinity; every number must be finite")
        return z.to(self.device)

    @torch.no_grad()
    def generate_ids(self, z, num_beams: int = 1, batch_size: int = 64, **search) -> list[list[int]]:
        """Vectors (N, D) -> word-piece ids of each text, [CLS] left out, the end token kept where it was said.

        `search` goes to transformers' GenerationConfig: do_sample, temperature, top_p, ...
        """
        if num_beams < 1:
            raise ValueError(f"num_beams={num_beams}: 1 is greedy search, more is beam search")
        self.eval()
        self.check_words()
        z = self.check_vectors(z)
        c, out = self.config, []
        search_config = GenerationConfig(
            max_length=c.max_length, num_beams=num_beams, bos_token_id=c.bos_token_id, eos_token_id=c.eos_token_id,
            pad_token_id=c.pad_token_id, use_cache=c.decoder == "transformer", **search,
        )  # fmt: skip
        for start in range(0, len(z), batch_size):
            part = z[start : start + batch_size]
            bos = torch.full((len(part), 1), c.bos_token_id, device=self.device)
            lm, inputs = self.decoder.generator(part)
            if lm is None:  # all positions in one step
                blank = bos.expand(-1, c.max_length - 1)
                ids = self.logits(self.decoder.decode_states(part, blank)).argmax(-1)
            else:
                said = lm.generate(
                    input_ids=bos, attention_mask=torch.ones_like(bos), generation_config=search_config, **inputs
                )
                ids = said[:, 1:]
            out += [until_end(row, c.eos_token_id) for row in ids.tolist()]
        return out

    def text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, as the encoder's tokenizer spells them."""
        return self.encoder.text(ids)

    def decode(self, z, num_beams: int = 1, **search) -> list[str]:
        """Vectors (N, D) -> texts, by greedy search or, with num_beams > 1, beam search."""
        return self.text(self.generate_ids(z, num_beams=num_beams, **search))

    def reconstruct(self, texts: Sequence[str], num_beams: int = 1) -> list[str]:
        """decode(encode(texts))."""
        return self.decode(self.encode(texts), num_beams=num_beams)

    def n_trainable(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    # Saving and loading

    def save_pretrained(self, folder: str | Path, state_dict: dict | None = None, half: bool = False, **_) -> None:
        """config.json and model.safetensors (the frozen encoder left out), each renamed into place when whole.

        half: weights in half precision, for a model that is handed on; it is read back in float32.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.detach().cpu().contiguous() for k, v in (state_dict or self.state_dict()).items()}
        if half:
            weights = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
        partial = folder / ".model.safetensors.part"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.replace(folder / "model.safetensors")
        shape = {name: getattr(self.config, name) for name in CONFIG_FIELDS}  # with what equals today's defaults
        values = self.config.to_diff_dict() | shape | {"model_type": self.config.model_type}
        paths.write_json(folder / "config.json", values)

    @classmethod
    def from_pretrained(cls, name: str | Path, run: str | Path | None = None, **_) -> "InvertibleSentenceModel":
        """A saved model by folder, or by name looked up in the run, then in data/models."""
        folder = paths.find_model(name, run)
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if values.get("model_type") != InvertibleConfig.model_type:
            raise ValueError(
                f"{folder} holds a model of the type {values.get('model_type')!r}, "
                f"not {InvertibleConfig.model_type!r}; give the folder of a model that this workbook trained"
            )
        config = InvertibleConfig(**values)
        model = cls(config)
        weights = {
            k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "model.safetensors").items()
        }
        model.load_state_dict(weights)
        model.folder = folder
        return model.to(device()).eval()

    def to_sentence_transformer(self):
        """The encoding half as a SentenceTransformer, for anyone; built from this loader, no remote code needed.

        Its `encode(texts)` gives the same vectors as this model's.
        """
        from invlib.models.sentence_transformer import as_sentence_transformer

        return as_sentence_transformer(self)


def until_end(ids: Sequence[int], eos_token_id: int) -> list[int]:
    """The ids up to and with the first end token."""
    ids = list(ids)
    return ids[: ids.index(eos_token_id) + 1] if eos_token_id in ids else ids
