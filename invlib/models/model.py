"""One model class for every learned row of the study: frozen encoder -> pooling -> ONE vector -> decoder."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from invlib import paths
from invlib.encoders.batches import StatesDataset, in_order
from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.encoders.hub import check_weights
from invlib.models.codec import Codec, check_batch_size, until_end
from invlib.models.config import InvertibleConfig, model_config, prefix_size  # noqa: F401
from invlib.models.decoders import build_decoder
from invlib.models.pooling import build_pooling
from invlib.rows import ROWS
from invlib.settings import Settings, device

SEARCH = (  # what `generate_ids` takes of transformers' GenerationConfig beside num_beams
    "bad_words_ids", "do_sample", "early_stopping", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty",
    "length_penalty", "min_length", "min_new_tokens", "min_p", "no_repeat_ngram_size", "renormalize_logits",
    "repetition_penalty", "sequence_bias", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
)  # fmt: skip
INSTEAD = {  # what people give that can't be combined with a vector, and what to do instead
    **dict.fromkeys(("max_length", "max_new_tokens"), "a text ends with its end token, or at the config's max_length"),
    **dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits"), "use decode(z, return_scores=True)"),
    "num_return_sequences": "each vector gives one text: repeat the vectors, np.repeat(z, 3, axis=0)",
}


def build_model(settings: Settings, encoder: FrozenEncoder) -> "InvertibleSentenceModel":
    """A fresh, untrained model of the row that `settings` names."""
    config = model_config(
        settings, encoder=encoder.name, encoder_hash=encoder.hash, hidden_size=encoder.hidden_size,
        vocab_size=encoder.vocab_size, bos_token_id=encoder.bos_token_id, eos_token_id=encoder.eos_token_id,
        pad_token_id=encoder.pad_token_id, unk_token_id=encoder.unk_token_id,
        sentence_pooling=encoder.sentence_pooling.removesuffix(", normalized"),
    )  # fmt: skip
    model = InvertibleSentenceModel(config)
    model.use_encoder(encoder)
    return model.to(device())


class InvertibleSentenceModel(PreTrainedModel, Codec):
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
        self._encoder: FrozenEncoder | None = None
        self.folder: Path | None = None  # where it was saved or loaded last
        self.post_init()

    def init_weights(self):
        """Every module has started its own weights: transformers, which calls this, is to leave them alone."""

    # The frozen encoder

    @property
    def encoder(self) -> FrozenEncoder:
        if self._encoder is None:
            self.use_encoder(load_encoder(self.config.encoder))
        return self._encoder

    def use_encoder(self, encoder: FrozenEncoder) -> None:
        """Give the frozen encoder; ValueError where it is not the one that the model was trained on."""
        if self.config.encoder_hash not in (None, encoder.hash):
            raise ValueError(
                f"this model was trained on encoder {self.config.encoder!r} ({self.config.encoder_hash}), "
                f"got {encoder.name!r} ({encoder.hash}); load the encoder it names"
            )
        self.decoder.vocabulary.set_table(encoder.word_embeddings)
        self._encoder = encoder

    def check_words(self) -> None:
        """A model that was loaded has no word embeddings before the frozen encoder gave them: it is loaded here."""
        if self.decoder.vocabulary.kind == "encoder":
            _ = self.encoder

    @property
    def reads_states(self) -> bool:
        """Whether the pooling reads the frozen encoder's token states."""
        return ROWS[self.config.row].reads == "states"

    @property
    def reads_layers(self) -> tuple[str, ...]:
        """The encoder's layers that the pooling reads, side by side in this order; () where it reads none."""
        return tuple(self.config.encoder_layers) if self.reads_states else ()

    @property
    def components(self) -> np.ndarray | None:
        """The PCA (H, p) float32 that makes the semantic prefix; None where the vector has none."""
        found = getattr(self.pooling, "components", None)
        return None if found is None else found.float().cpu().numpy()

    # Training

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """input_ids, attention_mask (B, T), token_embeddings (B, T, H * layers) -> sentence_embedding (B, D)."""
        features = {k: batch[k] for k in ("input_ids", "attention_mask") if k in batch}
        if batch.get("token_embeddings") is not None:
            features["token_embeddings"] = batch["token_embeddings"].to(self.dtype)
        return self.pooling(features)["sentence_embedding"]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_embeddings: Tensor | None = None,
        sentence_embedding: Tensor | None = None, move: Callable[[Tensor, dict], dict] | None = None, **more,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Teacher-forced states of the decoder.

        input_ids, attention_mask (B, T) int64; token_embeddings (B, T, H * layers); `sentence_embedding` (B, D) takes
        the place of the pooled one. Returns sentence_embedding (B, D), states (N, n_embd) and labels (N,) of the
        N positions that have a label: every word piece after [CLS], the end token included, no padding.

        move: takes the vectors (B, D) and the batch, with what else it holds in `more`; returns the batch to decode in
        its place: input_ids, attention_mask and sentence_embedding.
        """
        batch = {
            "input_ids": input_ids, "attention_mask": attention_mask, "token_embeddings": token_embeddings, **more,
        }  # fmt: skip
        batch["sentence_embedding"] = self.pool(batch) if sentence_embedding is None else sentence_embedding
        if move is not None:
            batch = move(batch["sentence_embedding"], batch)
        z, input_ids = batch["sentence_embedding"], batch["input_ids"]
        self.check_words()
        # The vector in the weights' precision: of a half model, not of a model under autocast
        states = self.decoder.decode_states(z if self.dtype == torch.float32 else z.to(self.dtype), input_ids[:, :-1])
        labelled = batch["attention_mask"][:, 1:].bool()
        return {"sentence_embedding": z, "states": states[labelled], "labels": input_ids[:, 1:][labelled]}

    def logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        return self.decoder.vocabulary.logits(states, candidates)

    def n_trainable(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    # Sentences to vectors

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Sentences -> (N, D) float32. ValueError for an empty sentence or one that is too long."""
        check_batch_size(batch_size)
        self.eval()
        ids = self.encoder.input_ids(texts, self.config.max_length)
        out = [np.zeros((0, self.config.embedding_dim), dtype=np.float32)]
        for start in range(0, len(ids), batch_size):
            batch = self.read(self.encoder.pad(ids[start : start + batch_size]))
            out.append(self.pool(batch).float().cpu().numpy())
        return np.concatenate(out)

    def read(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, T), and the token_embeddings that the pooling reads; on the model's device."""
        if self.reads_layers:
            batch = {**batch, "token_embeddings": self.encoder.token_embeddings(**batch, layers=self.reads_layers)}
        return {k: v.to(self.device) for k, v in batch.items()}

    @torch.no_grad()
    def vectors_of(self, dataset: StatesDataset, batch_size: int = 256) -> np.ndarray:
        self.eval()
        batches = in_order(dataset, batch_size, self.device)
        empty = np.zeros((0, self.config.embedding_dim), dtype=np.float32)
        return np.concatenate([empty, *(self.pool(batch).float().cpu().numpy() for batch in batches)])

    # Vectors to sentences

    def as_tensor(self, z) -> Tensor:
        """What `check_vectors` accepts as a tensor (N, D), on the model's device and in its precision."""
        return torch.from_numpy(self.check_vectors(z)).to(self.device, self.dtype)

    @torch.no_grad()
    def generate_ids(self, z, num_beams: int = 1, batch_size: int = 64, **search) -> list[list[int]]:
        """Vectors (N, D) -> word-piece ids of each text: without [CLS], with the end token where it was generated.

        `search` goes to transformers' GenerationConfig; `SEARCH` lists what is taken: do_sample, temperature, top_p,
        length_penalty, ... The one-pass decoder takes the likeliest piece of each position, whatever num_beams is,
        and no option. Raises TypeError for an unknown option, ValueError for one that can't be combined with a vector.
        """
        if num_beams < 1:
            raise ValueError(f"num_beams={num_beams}: 1 is greedy search, more is beam search")
        check_batch_size(batch_size)
        check_search(search)
        self.eval()
        self.check_words()
        z, c, out = self.as_tensor(z), self.config, []
        search_config = GenerationConfig(
            max_length=c.max_length, num_beams=num_beams, bos_token_id=c.bos_token_id, eos_token_id=c.eos_token_id,
            pad_token_id=c.pad_token_id, use_cache=c.decoder == "transformer", **search,
        )  # fmt: skip
        for part in z.split(batch_size) if len(z) else ():
            bos = torch.full((len(part), 1), c.bos_token_id, device=self.device)
            generator = self.decoder.generator(part)
            if generator is not None:
                lm, inputs = generator
                ids = lm.generate(bos, attention_mask=torch.ones_like(bos), generation_config=search_config, **inputs)
                ids = ids[:, 1:]
            elif search:
                raise ValueError(f"the {c.decoder} decoder has no search: it takes no {', '.join(search)}")
            else:
                ids = self.logits(self.decoder.decode_states(part, bos.expand(-1, c.max_length - 1))).argmax(-1)
            out += [until_end(row, c.eos_token_id) for row in ids.tolist()]
        return out

    @torch.no_grad()
    def token_log_probabilities(self, z, ids: Sequence[Sequence[int]], batch_size: int = 64) -> list[tuple[float, ...]]:
        check_batch_size(batch_size)
        self.eval()
        z, c, found = self.as_tensor(z), self.config, []
        for start in range(0, len(z), batch_size):
            part = ids[start : start + batch_size]
            batch = {
                k: v.to(self.device) for k, v in self.encoder.pad([[c.bos_token_id, *row] for row in part]).items()
            }
            output = self(**batch, sentence_embedding=z[start : start + batch_size])
            scores = self.logits(output["states"]).float().log_softmax(-1)  # (all pieces, V)
            chosen = scores.gather(1, output["labels"].unsqueeze(1)).flatten().cpu()
            found += [tuple(row.tolist()) for row in chosen.split([len(row) for row in part])]
        return found

    # Saving and loading

    def save_pretrained(
        self, folder: str | Path, state_dict: dict | None = None, half: bool = False, is_main_process: bool = True
    ) -> None:
        """config.json and model.safetensors (the frozen encoder left out), each renamed into place when whole.

        half: weights in half precision, for a model that is handed on; it is read back in float32. state_dict and
        is_main_process: as transformers' Trainer gives them.
        """
        if not is_main_process:
            return
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.detach().cpu().contiguous() for k, v in (state_dict or self.state_dict()).items()}
        if half:
            weights = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
        partial = folder / ".model.safetensors.part"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.replace(folder / "model.safetensors")
        self.config.write(folder)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, run: str | Path | None = None, dtype: torch.dtype = torch.float32
    ) -> "InvertibleSentenceModel":
        """A saved model by folder, or by name looked up in the run, then in data/models.

        dtype: of the weights, whatever they were saved in. Raises FileNotFoundError that lists the models that exist,
        OSError that names a file which is damaged, ValueError where config and weights do not fit each other.
        """
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype is {dtype!r}; give a torch.dtype, as torch.float16")
        folder = paths.find_model(Path(name).expanduser(), run)
        check_weights(folder)
        config, file = InvertibleConfig.read(folder), folder / "model.safetensors"
        try:
            model = cls(config)
            model.load_state_dict({k: v.to(dtype) if v.is_floating_point() else v for k, v in load_file(file).items()})
        except ValueError as error:
            raise ValueError(f"{folder / 'config.json'} is of no model that can be built: {error}") from error
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise ValueError(
                f"{file} does not fit {folder / 'config.json'}: {first}; take both files from one model"
            ) from None
        model.folder = folder
        return model.to(device(), dtype).eval()

    def to_sentence_transformer(self):
        """The encoding half as a SentenceTransformer: its `encode(texts)` gives the same vectors as this model's.

        What its `save_pretrained(folder)` writes is loaded by SentenceTransformer(folder, trust_remote_code=True)
        wherever invlib is installed. It shares this model's weights.
        """
        from invlib.models.sentence_transformer import as_sentence_transformer

        return as_sentence_transformer(self)


def check_search(search: dict) -> None:
    """TypeError for an option of no search, ValueError for one that can't be combined with a vector."""
    for name in set(search) - set(SEARCH):
        if hasattr(GenerationConfig(), name):
            instead = INSTEAD.get(name, "the vector and the model's config decide it")
            raise ValueError(f"the option {name} is not taken: {instead}")
        near = difflib.get_close_matches(name, ("num_beams", "batch_size", "return_scores", *SEARCH), n=1)
        options = f"did you mean {near[0]}?" if near else f"options are num_beams, {', '.join(SEARCH)}"
        raise TypeError(f"unknown option {name!r}; {options}")
