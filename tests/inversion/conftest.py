"""An inverter of the tiny encoder that has learned forty sentences, and a corrector made of it."""

from dataclasses import replace

import pytest
import torch

from invlib.encoders.frozen import FrozenEncoder
from invlib.inversion import candidates


@pytest.fixture(autouse=True)
def sharp(float32, monkeypatch):
    """Encoder and decoder in float32: cosines are compared, and a batch is not to change their fourth digit."""
    monkeypatch.setattr(candidates, "precision", lambda where: torch.float32)


@pytest.fixture(scope="session")
def inverter_settings(tiny_settings):
    """A small mean_decoder."""
    return replace(tiny_settings, row="mean_decoder", variant="inverter", expanded_size=64, sampled_negatives=0)


@pytest.fixture(scope="session")
def inverter(inverter_settings, tiny_encoder, tiny_material):
    """A mean_decoder that was trained for a moment; it writes a training sentence from its vector, no other."""
    from invlib.encoders.batches import collate
    from invlib.models.model import build_model
    from invlib.training.losses import reconstruction_loss

    torch.manual_seed(0)
    model = build_model(inverter_settings, tiny_encoder).train()
    dataset = tiny_material.dataset("train", layers=())
    batch = {k: v.to(model.device) for k, v in collate([dataset[k] for k in range(len(dataset))]).items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        reconstruction_loss(model, model(**batch)).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def corrector(inverter, inverter_settings):
    """A corrector that was not trained, but shaken: it says different things of different hypotheses."""
    from invlib.inversion.train_corrector import as_corrector

    model = as_corrector(inverter, inverter_settings).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        model.decoder.difference.weight.normal_(0, 0.3)
        model.decoder.states.weight.normal_(0, 1.0)
    return model


@pytest.fixture(scope="session")
def texts(tiny_material):
    """The word pieces of the test sentences, which the inverter never saw, without special tokens."""
    return [tuple(ids[1:-1]) for ids in tiny_material.dataset("test", layers=()).ids()]


@pytest.fixture
def vectors(tiny_encoder, inverter, texts):
    """What the encoder makes of `texts`, as anybody would compute it: (16, 32) float32."""
    return tiny_encoder.sentence_embedding(inverter.text(texts)).numpy()


@pytest.fixture
def encoder_reads(monkeypatch) -> list[tuple[int, ...]]:
    """A list that grows by each text that the encoder reads, special tokens left out."""
    seen, real = [], FrozenEncoder.token_embeddings

    def spy(self, input_ids, attention_mask, *layers, **more):
        seen.extend(tuple(row[mask > 0][1:-1].tolist()) for row, mask in zip(input_ids, attention_mask, strict=True))
        return real(self, input_ids, attention_mask, *layers, **more)

    monkeypatch.setattr(FrozenEncoder, "token_embeddings", spy)
    return seen
