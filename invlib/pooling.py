"""Pooling: from the token states of a sentence to its ONE vector.

Every module here reads a dictionary of features and sets `sentence_embedding` (B, D) in it, as the modules of
sentence-transformers do: `token_embeddings` (B, T, H), `attention_mask` (B, T), and `input_ids` for the RNN alone.
"""

import torch
from torch import Tensor, nn


def masked_softmax(scores: Tensor, attention_mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the unmasked positions; masked ones get -1e9, in half precision the most negative number."""
    lowest = max(-1e9, torch.finfo(scores.dtype).min)
    return scores.masked_fill(attention_mask == 0, lowest).softmax(dim)


class AttentionPooling(nn.Module):
    """The deck's pooling: one softmax head over the tokens, then a weighted sum of projected states.

    attn: Linear(H, 1); proj: Linear(H, D) -> GELU -> LayerNorm(D);
    sentence_embedding = sum over tokens of softmax(attn(x)) * proj(x).
    """

    def __init__(self, hidden_size: int, embedding_dim: int):
        super().__init__()
        self.attn = nn.Linear(hidden_size, 1)
        self.proj = nn.Sequential(nn.Linear(hidden_size, embedding_dim), nn.GELU(), nn.LayerNorm(embedding_dim))

    def weights(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The attention over the tokens, (B, T), 0 where masked, summing to 1."""
        return masked_softmax(self.attn(token_embeddings).squeeze(-1), attention_mask)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """token_embeddings (B, T, H), attention_mask (B, T) -> sentence_embedding (B, D)."""
        x = features["token_embeddings"]
        weights = self.weights(x, features["attention_mask"])
        # The sum over tokens as a batched product: (B, 1, T) @ (B, T, D) -> (B, 1, D)
        features["sentence_embedding"] = (weights.unsqueeze(1).to(x.dtype) @ self.proj(x)).squeeze(1)
        return features


class CLSPooling(nn.Module):
    """The frozen encoder's [CLS] state as it stands: nothing learned, D = H."""

    def __init__(self, hidden_size: int, embedding_dim: int):
        super().__init__()
        if embedding_dim != hidden_size:
            raise ValueError(f"the [CLS] state has {hidden_size} numbers, not {embedding_dim}: give D = {hidden_size}")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["sentence_embedding"] = features["token_embeddings"][:, 0]
        return features


class RNNPooling(nn.Module):
    """The baseline's encoder: an LSTM with word embeddings of its own; its last hidden state is the vector."""

    def __init__(self, vocab_size: int, n_embd: int, embedding_dim: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, n_embd)
        self.lstm = nn.LSTM(n_embd, embedding_dim, batch_first=True)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, T) -> sentence_embedding (B, D); packed by length: padding changes nothing."""
        lengths = features["attention_mask"].sum(1).cpu()
        x = self.embeddings(features["input_ids"])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        features["sentence_embedding"] = last[-1]
        return features


class ConstantPooling(nn.Module):
    """The no-vector control: the same vector for every sentence, so the decoder is a plain language model."""

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.register_buffer("constant", torch.ones(embedding_dim))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["sentence_embedding"] = self.constant.expand(len(features["input_ids"]), -1)
        return features


def build_pooling(config) -> nn.Module:
    """The pooling that an `InvertibleConfig` names."""
    if config.pooling == "attention":
        return AttentionPooling(config.hidden_size, config.embedding_dim)
    if config.pooling == "cls":
        return CLSPooling(config.hidden_size, config.embedding_dim)
    if config.pooling == "rnn":
        return RNNPooling(config.vocab_size, config.n_embd, config.embedding_dim)
    if config.pooling == "constant":
        return ConstantPooling(config.embedding_dim)
    raise ValueError(f"unknown pooling {config.pooling!r}; choose attention, cls, rnn or constant")
