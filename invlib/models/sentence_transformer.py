"""The encoding half of a model as a sentence-transformers module."""

from pathlib import Path

from sentence_transformers.base.modules import Module
from torch import Tensor

from invlib.models.model import InvertibleSentenceModel


class InvertiblePooling(Module):
    """Tokenizes, reads the frozen encoder and pools: features -> sentence_embedding (B, D).

    A text that is empty or too long is a ValueError, as in the model's own `encode`. The pooling can be trained
    further, the frozen encoder can't; the decoder then no longer fits the vectors.
    """

    def __init__(self, model: InvertibleSentenceModel):
        super().__init__()
        self.model = model

    def preprocess(self, texts: list[str], prompt: str | None = None, **_) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64; a prompt stands before each text and counts in its length."""
        texts = [prompt + text for text in texts] if prompt else texts
        try:
            return self.model.encoder.pad(self.model.encoder.input_ids(texts, self.model.config.max_length))
        except ValueError as error:  # sentence-transformers sorts by length: the number is that in the batch
            raise ValueError(f"in a batch of {len(texts)}, the longest first: {error}") from error

    def forward(self, features: dict[str, Tensor], **_) -> dict[str, Tensor]:
        read = self.model.read({k: features[k] for k in ("input_ids", "attention_mask")})
        return features | read | {"sentence_embedding": self.model.pool(read)}

    def get_embedding_dimension(self) -> int:
        return self.model.config.embedding_dim

    def save(self, output_path: str, *args, **kwargs) -> None:
        self.model.save_pretrained(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **hub) -> "InvertiblePooling":
        """What `save` wrote, from a folder or a hub's repository."""
        known = {k: hub[k] for k in ("token", "cache_folder", "revision", "local_files_only") if k in hub}
        folder = cls.load_dir_path(model_name_or_path, subfolder=subfolder, **known)
        return cls(InvertibleSentenceModel.from_pretrained(Path(folder)))
