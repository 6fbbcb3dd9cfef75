"""One model class for every learned row of the study: frozen encoder -> pooling -> ONE vector -> decoder."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from invlib import paths
from invlib.device import device
from invlib.encoders.batches import StatesDataset, length_sorted
from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.encoders.hub import check_weights
from invlib.encoders.lengths import by_length
from invlib.models import generation
from invlib.models.codec import Codec, Vectors, split
from invlib.models.config import InvertibleConfig, model_config
from invlib.models.decoders import DECODERS, Hypothesis
from invlib.models.pooling import POOLINGS
from invlib.rows import ROWS
from invlib.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def build_model(settings: Settings, encoder: FrozenEncoder) -> "InvertibleSentenceModel":
    """A fresh, untrained model of the row that `settings` names."""
    same = ("hidden_size", "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
    config = model_config(
        settings, encoder=encoder.name, encoder_hash=encoder.hash, **{key: getattr(encoder, key) for key in same},
        sentence_pooling=encoder.sentence_pooling.removesuffix(", normalized"),
    )  # fmt: skip
    model = InvertibleSentenceModel(config)
    model.use_encoder(encoder)
    return model.to(device())


class InvertibleSentenceModel(PreTrainedModel, Codec):
    """`encode` sentences into (N, D) vectors and `decode` vectors back into text.

    The frozen encoder is no submodule: it is loaded by name on first use, checked against its hash, and never saved.
    """

    config_class = InvertibleConfig
    main_input_name = "input_ids"

    def __init__(self, config: InvertibleConfig) -> None:
        super().__init__(config)
        self.pooling = POOLINGS[config.pooling].from_config(config)
        self.decoder = DECODERS[config.decoder](config)
        self._encoder: FrozenEncoder | None = None
        self.folder: Path | None = None  # where it was saved or loaded last
        self.post_init()

    def init_weights(self) -> None:
        """Every module has started its own weights: transformers, which calls this, is to leave them alone."""

    @property
    def encoder(self) -> FrozenEncoder:  # type: ignore[override]  # `use_encoder` sets it
        encoder = self._encoder
        if encoder is None:
            encoder = load_encoder(self.config.encoder)
            self.use_encoder(encoder)
        return encoder

    def use_encoder(self, encoder: FrozenEncoder) -> None:
        """Give the frozen encoder; ValueError where it is not the one that the model was trained on."""
        if self.config.encoder_hash not in (None, encoder.hash, encoder.half_of):
            own = f"{self.config.encoder!r} ({self.config.encoder_hash})"
            raise ValueError(f"this model was trained on encoder {own}; load it, not {encoder.name!r} ({encoder.hash})")
        self.decoder.vocabulary.set_table(encoder.word_embeddings)
        self._encoder = encoder

    @property
    def reads_states(self) -> bool:
        """Whether the pooling reads the frozen encoder's token states."""
        return ROWS[self.config.row].reads == "states"

    @property
    def reads_sentence(self) -> bool:
        """Whether the pooling reads the frozen encoder's own sentence embedding."""
        return ROWS[self.config.row].reads == "sentence"

    @property
    def reads_layers(self) -> tuple[str, ...]:
        """The encoder's layers that the pooling reads, side by side in this order; () where it reads none."""
        return tuple(self.config.encoder_layers) if self.reads_states else ()

    @property
    def components(self) -> np.ndarray | None:  # type: ignore[override]  # read, not set, here
        """The PCA (H, p) float32 that makes the semantic prefix; None where the vector has none."""
        found = getattr(self.pooling, "components", None)
        return None if found is None else found.float().cpu().numpy()

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """input_ids, attention_mask (B, T), token_embeddings (B, T, H * layers) -> sentence_embedding (B, D)."""
        if self.reads_states:
            batch = {**batch, "token_embeddings": batch["token_embeddings"].to(self.dtype)}
        if self.reads_sentence and "reference" not in batch:
            batch = self.with_reference(batch)
        return self.pooling(batch)["sentence_embedding"]

    def with_reference(self, batch: dict[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """The batch with the encoder's own sentence embeddings of its input_ids, reference (B, H) float32."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return {**batch, "reference": self.encoder.pool(self.encoder.token_embeddings(ids, mask, dtype=dtype), mask)}

    @torch.no_grad()
    def read_hypothesis(self, input_ids: Tensor, attention_mask: Tensor) -> Hypothesis:
        """Texts (B, T) as the frozen encoder sees them, for a decoder that corrects."""
        states = self.encoder.token_embeddings(input_ids, attention_mask)
        return Hypothesis(input_ids, attention_mask, states, self.encoder.pool(states, attention_mask))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, sentence_embedding: Tensor | None = None,
        move: Callable[[Tensor, dict], dict] | None = None, hypothesis: Hypothesis | None = None, **more: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Teacher-forced: sentence_embedding (B, D), and states (N, n_embd) and labels (N,) of every piece after [CLS].

        input_ids, attention_mask (B, T) int64, and what `pool` reads; a given sentence_embedding takes the place of the
        pooled one. hypothesis: texts that a correcting decoder reads beside the vectors. move: takes the vectors and
        the whole batch; returns the batch to decode in its place, and where the decoder is to read other previous
        pieces than the text's, these as previous_ids (B, T).
        """
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, **more}
        batch["sentence_embedding"] = self.pool(batch) if sentence_embedding is None else sentence_embedding
        if move is not None:
            batch = move(batch["sentence_embedding"], batch)
        z, ids = batch["sentence_embedding"], batch["input_ids"]
        previous = batch.get("previous_ids", ids)
        _ = self.encoder  # a model that was loaded has the decoder's words from it
        # The vector in the weights' precision: of a half model, not of a model under autocast
        vector = z if self.dtype == torch.float32 else z.to(self.dtype)
        read = () if hypothesis is None else (hypothesis,)  # only a correcting decoder takes it
        states = self.decoder.decode_states(vector, previous[:, :-1], *read)
        labelled = batch["attention_mask"][:, 1:].bool()
        return {"sentence_embedding": z, "states": states[labelled], "labels": ids[:, 1:][labelled]}

    def logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """states (..., n_embd) -> logits (..., V), or (..., C) for the C word pieces in `candidates`."""
        return self.decoder.vocabulary.logits(states, candidates)

    def n_trainable(self) -> int:
        """How many numbers training changes; the frozen encoder's are none of them."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def encode(self, texts: Sequence[str], batch_size: int = 64, dtype: torch.dtype | None = None) -> np.ndarray:
        """Sentences -> (N, D) float32. ValueError for an empty sentence or one that is too long.

        Those of like length are read together. dtype: of the encoder's matrix products, float32 or bfloat16 of torch;
        None = bfloat16 where the device has it in hardware.
        """
        return self.encode_ids(self.encoder.input_ids(texts, self.config.max_length), batch_size, dtype)

    def encode_ids(
        self, ids: Sequence[Sequence[int]], batch_size: int = 64, dtype: torch.dtype | None = None
    ) -> np.ndarray:
        """As `encode`, of sentences that `encoder.input_ids` has made word-piece ids of."""
        self.eval()
        z = np.zeros((len(ids), self.config.embedding_dim), dtype=np.float32)
        for rows in by_length([len(row) for row in ids], batch_size):
            z[rows] = self.pooled(self.read(self.encoder.pad([ids[i] for i in rows]), dtype))
        return z

    def vectors_of(self, dataset: StatesDataset) -> np.ndarray:
        self.eval()
        z = np.zeros((len(dataset), self.config.embedding_dim), dtype=np.float32)
        for rows, batch in length_sorted(dataset, 256, self.device):
            z[rows] = self.pooled(batch)
        return z

    @torch.no_grad()
    def pooled(self, batch: dict[str, Tensor]) -> np.ndarray:
        """The vectors of a batch, (B, D) float32."""
        return self.pool(batch).float().cpu().numpy()

    def read(self, batch: dict[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, T), and the token_embeddings that the pooling reads; on the model's device.

        dtype: as in `encode`.
        """
        if self.reads_states:
            states = self.encoder.token_embeddings(**batch, layers=self.reads_layers, dtype=dtype)
            batch = {**batch, "token_embeddings": states}
        if self.reads_sentence:
            batch = self.with_reference(batch, dtype)
        return {k: v.to(self.device) for k, v in batch.items()}

    def as_tensor(self, z: Vectors) -> Tensor:
        """What `check_vectors` accepts as a tensor (N, D), on the model's device and in its precision."""
        return torch.from_numpy(self.check_vectors(z)).to(self.device, self.dtype)

    @torch.no_grad()
    def generate_ids(
        self, z: Vectors, num_beams: int = 1, batch_size: int | None = None, **search: Any
    ) -> list[list[int]]:
        """Vectors (N, D) -> word-piece ids of each text: without [CLS], with the end token where it was generated.

        batch_size: vectors at once; None = 512 in greedy search, else 64. Where the vectors tell how long their texts
        are, those of like length are decoded together.
        `search`: options of transformers' GenerationConfig that `generation.SEARCH` lists; TypeError for any other. The
        one-pass decoder takes the likeliest piece of each position, whatever num_beams is, and no option.
        """
        return generation.generate_ids(self, z, num_beams, batch_size, search)

    @torch.no_grad()
    def token_log_probabilities(
        self, z: Vectors, ids: Sequence[Sequence[int]], batch_size: int = 64
    ) -> list[tuple[float, ...]]:
        self.eval()
        z, found = self.as_tensor(z), []
        if len(z) != len(ids):
            raise ValueError(f"{len(z)} vectors and the ids of {len(ids)} texts; give one list of ids for each vector")
        for vectors, part in zip(split(z, batch_size), split(ids, batch_size), strict=True):
            batch = self.encoder.pad([[self.config.bos_token_id, *row] for row in part])
            output = self(**{k: v.to(self.device) for k, v in batch.items()}, sentence_embedding=vectors)
            scores = self.logits(output["states"]).float().log_softmax(-1)  # (all pieces, V)
            chosen = scores.gather(1, output["labels"].unsqueeze(1)).flatten().cpu()
            found += [tuple(row.tolist()) for row in chosen.split([len(row) for row in part])]
        return found

    def save_pretrained(
        self, folder: str | Path, state_dict: dict | None = None, half: bool = False, is_main_process: bool = True
    ) -> None:
        """config.json and model.safetensors, each renamed into place when whole; half: in half precision.

        state_dict and is_main_process: as transformers' Trainer gives them.
        """
        if not is_main_process:
            return
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        kind = torch.float16 if half else None
        weights = {k: v.detach().to("cpu", kind).contiguous() for k, v in (state_dict or self.state_dict()).items()}
        partial = folder / ".model.safetensors.part"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.replace(folder / "model.safetensors")
        self.config.write(folder)
        shutil.copymode(folder / "config.json", folder / "model.safetensors")  # which its owner alone could read

    @classmethod
    def from_pretrained(
        cls, name: str | Path, run: str | Path | None = None, dtype: torch.dtype = torch.float32
    ) -> "InvertibleSentenceModel":
        """A saved model by folder, or by name looked up in the run, then in data/models.

        dtype: of the weights, whatever they were saved in. FileNotFoundError lists the models that exist, OSError names
        a damaged file; ValueError where config and weights do not fit each other.
        """
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype is {dtype!r}; give a torch.dtype, as torch.float16")
        folder = paths.find_model(name, run)
        check_weights(folder)
        config = InvertibleConfig.read(folder)
        try:
            model = cls(config).to(dtype)
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (ValueError, RuntimeError) as error:
            reason = shorten(str(error).partition("\n")[2] or str(error), 200) + "; take both from one model"
            raise ValueError(f"{folder}: config.json does not fit model.safetensors: {reason}") from error
        model.folder = folder
        return model.to(device()).eval()

    def to_sentence_transformer(self) -> "SentenceTransformer":
        """The encoding half; SentenceTransformer(folder, trust_remote_code=True) loads what it saves.

        The flag lets sentence-transformers import this installed package's class; no code is downloaded.
        """
        from sentence_transformers import SentenceTransformer

        from invlib.models.sentence_transformer import InvertiblePooling

        return SentenceTransformer(modules=[InvertiblePooling(self.eval())], device=str(self.device))
