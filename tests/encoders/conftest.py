"""Copies of the tiny encoder's folder that a test may change, with other poolings and other tokenizers."""

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
        from sentence_transformers.sentence_transformer.modules import (
            Dense,
            LayerNorm,
            Normalize,
            Pooling,
            Transformer,
            WordWeights,
        )

        torch.manual_seed(0)
        modules = {
            "cls": lambda: [Pooling(32, "cls")],
            "max": lambda: [Pooling(32, "max")],
            "mean": lambda: [Pooling(32, "mean")],
            "mean, normalized": lambda: [Pooling(32, "mean"), Normalize()],
            "mean_sqrt_len_tokens": lambda: [Pooling(32, "mean_sqrt_len_tokens")],
            "weightedmean": lambda: [Pooling(32, "weightedmean")],
            "lasttoken": lambda: [Pooling(32, "lasttoken")],
            "cls+mean": lambda: [Pooling(32, ("cls", "mean"))],
            "dense": lambda: [Pooling(32, "mean"), Dense(32, 16), Normalize()],
            "dense first": lambda: [Dense(32, 8, module_input_name="token_embeddings"), Pooling(8, "mean")],
            "layer norm": lambda: [Pooling(32, "mean"), LayerNorm(32)],
            "word weights": lambda: [WordWeights(["oil"], {"oil": 2.0}), Pooling(32, "mean")],
        }[kind]()
        folder = str(tmp_path / f"encoder, {kind}")
        SentenceTransformer(modules=[Transformer(tiny_folder), *modules], device="cpu").save(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def byte_level_folder(tmp_path_factory, sentences) -> str:
    """A RoBERTa with random weights and a byte-level BPE of the sentences: 'Ġ' marks pieces that start a word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder = tmp_path_factory.mktemp("byte_level")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, alphabet = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(sentences, trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet))
    bpe.model.save(str(folder))
    tokenizer = RobertaTokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory, sentences) -> str:
    """An XLM-RoBERTa with random weights and a unigram tokenizer: '▁' marks pieces that start a word."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("sentencepiece")
    unigram, special = Tokenizer(models.Unigram()), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    unigram.normalizer = normalizers.NFKC()
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator(sentences, trainer)
    unigram.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=unigram, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def change_json():
    """change(path, **values): some values of a JSON file, None to take one out."""

    def change(path: Path, **values) -> None:
        content = {**json.loads(path.read_text()), **values} if path.exists() else values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change
