"""The encoding half of a model as a sentence-transformers module."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from torch import Tensor


class InvertiblePooling(Module):
    """Tokenizes, reads the frozen encoder and pools: features -> sentence_embedding (B, D).

    A text that the model's own `encode` refuses (empty, or more than `max_length` word pieces) is refused here too,
    with ValueError: cut off, its vector would be that of another text, and nobody would be told.
    """

    config_keys = ["max_length"]

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.max_length = model.config.max_length

    def tokenize(self, texts: list[str], prompt: str | None = None, **_) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64; a prompt stands before each text and counts in its length."""
        texts = [prompt + text for text in texts] if prompt else texts
        try:
            self.model.encoder.check_texts(texts, self.max_length)
        except ValueError as error:  # sentence-transformers sorts by length: the number is that in the batch
            raise ValueError(f"in a batch of {len(texts)}, the longest first: {error}") from error
        return self.model.encoder.tokenize(texts, self.max_length)

    preprocess = tokenize

    def forward(self, features: dict[str, Tensor], **_) -> dict[str, Tensor]:
        if self.model.reads_states:
            layers = self.model.reads_layers
            states = self.model.encoder.token_embeddings(features["input_ids"], features["attention_mask"], layers)
            features["token_embeddings"] = states.to(features["attention_mask"].device)  # the encoder may be elsewhere
        with torch.no_grad():
            features["sentence_embedding"] = self.model.pool(features)
        return features

    def get_embedding_dimension(self) -> int:
        return self.model.config.embedding_dim

    get_sentence_embedding_dimension = get_embedding_dimension

    def save(self, output_path: str, *args, **kwargs) -> None:
        self.model.save_pretrained(output_path)


def as_sentence_transformer(model) -> SentenceTransformer:
    """The encoding half of an InvertibleSentenceModel; its `encode` gives the same vectors and the same errors."""
    return SentenceTransformer(modules=[InvertiblePooling(model.eval())], device=str(model.device))
