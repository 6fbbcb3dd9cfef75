"""Copies of the tiny encoder's folder that a test may change, and encoders with other modules and tokenizers."""

import json
import shutil
from pathlib import Path

import pytest
import torch


@pytest.fixture
def tiny_copy(tiny_folder, tmp_path) -> Path:
    """The tiny encoder's folder, to be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "encoder"))


@pytest.fixture
def with_modules(tiny_folder, tmp_path):
    """build(kind) -> the folder of a sentence-transformers encoder with the tiny encoder's weights."""

    def build(kind: str) -> str:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

        modules = {
            "mean, normalized": lambda: [Pooling(32, "mean"), Normalize()],
            "cls, normalized": lambda: [Pooling(32, "cls"), Normalize()],
            "cls+mean": lambda: [Pooling(32, ("cls", "mean"))],
            "dense": lambda: [Pooling(32, "mean"), Dense(32, 16), Normalize()],
        }.get(kind, lambda: [Pooling(32, kind)])()
        folder = str(tmp_path / f"encoder, {kind}")
        SentenceTransformer(modules=[Transformer(tiny_folder), *modules], device="cpu").save(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def mpnet_folder(tmp_path_factory, tiny_folder) -> str:
    """An MPNet with random weights: BERT's WordPiece with other special tokens, and two positions of padding."""
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizerFast

    folder, words = tmp_path_factory.mktemp("mpnet"), dict.fromkeys(Path(tiny_folder, "vocab.txt").read_text().split())
    names = ["<s>", "<pad>", "</s>", *list(words)[5:], "[UNK]", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(names))
    MPNetTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    MPNetModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def change_json():
    """change(path, **values): some values of a JSON file, None to take one out."""

    def change(path: Path, **values) -> None:
        content = {**json.loads(path.read_text()), **values} if path.exists() else values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change
