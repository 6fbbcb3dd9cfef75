"""The decoder of vectors that nobody trained: what the MLP makes of one, and a hypothesis that is read beside it."""

import pytest
import torch
from torch.nn import functional as F

from invlib.models.config import InvertibleConfig
from invlib.models.decoders import CorrectingDecoder, Hypothesis, TransformerDecoder
from invlib.models.memory import Memory, unit_square
from invlib.models.model import InvertibleSentenceModel

TEXTS = ["gold rises", "the old central bank holds steady on strong demand for steel", "oil", "uber slips again"]


@pytest.fixture
def plain(tiny_model):
    """A mean_decoder, louder than an untrained one."""
    model = tiny_model("mean_decoder", expanded_size=64)
    with torch.no_grad():
        for name, p in model.decoder.named_parameters():
            if p.ndim > 1 and not name.endswith("slot_embeddings"):
                p.mul_(3)
    return model


@pytest.fixture
def correcting(plain):
    """A correcting model with the weights of `plain`; what reads a hypothesis has no zeros left."""
    values = {name: getattr(plain.config, name) for name in plain.config.__annotations__}
    torch.manual_seed(5)
    model = InvertibleSentenceModel(InvertibleConfig(**values | {"decoder": "correcting"}))
    found = model.load_state_dict(plain.state_dict(), strict=False)
    assert not found.unexpected_keys and {key.split(".")[1] for key in found.missing_keys} == {"difference", "states"}
    model.use_encoder(plain.encoder)
    assert model.decoder.difference.weight.abs().max() == 0
    torch.nn.init.normal_(model.decoder.difference.weight, std=0.3)
    return model.to(plain.device).eval()


@pytest.fixture
def z(plain):
    torch.manual_seed(3)
    return torch.randn(len(TEXTS), 32, device=plain.device)


@pytest.fixture
def ids(plain):
    torch.manual_seed(4)
    return torch.randint(5, 30, (len(TEXTS), 8), device=plain.device)


def read(model, texts=TEXTS) -> Hypothesis:
    batch = model.encoder.pad(model.encoder.input_ids(texts))
    return model.read_hypothesis(*(batch[key].to(model.device) for key in ("input_ids", "attention_mask")))


# What the MLP makes of the vector


def test_the_mlp_of_the_vector_is_cut_into_slots():
    torch.manual_seed(0)
    memory, z = Memory(InvertibleConfig(embedding_dim=6, expanded_size=12, slots=3, n_embd=5)), torch.randn(2, 6)
    first, _, second = memory.mlp
    code = second(F.gelu(first(z / z.pow(2).mean(1, keepdim=True).sqrt())))
    expected = [memory.linear(code[:, 4 * k : 4 * k + 4]) + memory.slot_embeddings[k] for k in range(3)]
    torch.testing.assert_close(memory(z), torch.stack(expected, 1))
    more = torch.randn(2, 12)
    code = second(F.gelu(first(unit_square(z)) + more))
    torch.testing.assert_close(memory(z, more)[:, 0], memory.linear(code[:, :4]) + memory.slot_embeddings[0])


def test_an_expanded_size_that_the_slots_cant_share_is_refused(tiny_model):
    with pytest.raises(ValueError, match="66 numbers can't be cut into 4 equal slots"):
        tiny_model("mean_decoder", expanded_size=66)
    assert tiny_model("att_pool", expanded_size=66).config.expanded_size == 0  # it is mean_decoder's alone


def test_unit_square_has_a_mean_square_of_one_and_leaves_zeros():
    x = torch.tensor([[3.0, -4.0], [0.0, 0.0], [0.003, 0.004]])
    found = unit_square(x)
    torch.testing.assert_close(found.pow(2).mean(1), torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(F.cosine_similarity(found, x), torch.tensor([1.0, 0.0, 1.0]))


def test_the_length_of_a_vector_changes_nothing(plain, correcting, z, ids):
    sizes = torch.tensor([[0.1], [7.0], [1.0], [300.0]], device=z.device)
    before = plain.decoder.decode_states(z, ids)
    torch.testing.assert_close(plain.decoder.decode_states(sizes * z, ids), before, atol=1e-4, rtol=1e-4)
    hypothesis = read(correcting)
    longer = hypothesis._replace(sentence_embedding=sizes.flip(0) * hypothesis.sentence_embedding)
    before = correcting.decoder.decode_states(z, ids, hypothesis)
    torch.testing.assert_close(correcting.decoder.decode_states(sizes * z, ids, longer), before, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, correcting.decoder.decode_states(z.flip(0), ids, hypothesis), atol=0.1)


# The hypothesis


def test_without_a_hypothesis_it_is_the_transformer_decoder_of_the_same_weights(plain, correcting, z, ids):
    assert type(plain.decoder) is TransformerDecoder and type(correcting.decoder) is CorrectingDecoder
    assert torch.equal(plain.decoder.decode_states(z, ids), correcting.decoder.decode_states(z, ids))
    for beams in (1, 3):
        found = plain.generate_ids(z, num_beams=beams)
        assert found == correcting.generate_ids(z, num_beams=beams) and len({tuple(row) for row in found}) > 1


def test_a_hypothesis_is_what_the_encoder_sees(correcting, tiny_encoder, float32):
    hypothesis = read(correcting)
    assert hypothesis.states.shape == (4, 13, 32) and not hypothesis.states.requires_grad
    torch.testing.assert_close(hypothesis.sentence_embedding.cpu(), tiny_encoder.sentence_embedding(TEXTS))
    alone = tiny_encoder.token_embeddings(**tiny_encoder.tokenize(TEXTS[:1]))
    torch.testing.assert_close(hypothesis.states[:1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)


def test_each_part_of_a_hypothesis_changes_the_states(correcting, z, ids):
    hypothesis, decoder = read(correcting), correcting.decoder
    before = decoder.decode_states(z, ids, hypothesis)
    turned = {name: torch.flip(getattr(hypothesis, name)[:, 1:3], [1]) for name in ("input_ids", "states")}
    turned = {name: torch.cat([getattr(hypothesis, name)[:, :1], two, getattr(hypothesis, name)[:, 3:]], 1)
              for name, two in turned.items()}  # fmt: skip
    for change in (
        {"input_ids": torch.where(hypothesis.attention_mask > 0, 5 + (hypothesis.input_ids + 7) % 20, 0)},
        {"states": -hypothesis.states}, {"sentence_embedding": -hypothesis.sentence_embedding},
        turned,  # the same pieces, two of them in another order
    ):  # fmt: skip
        other = decoder.decode_states(z, ids, hypothesis._replace(**change))
        assert (other - before).abs().amax((1, 2)).min() > 1e-4  # of every text
    assert (decoder.decode_states(z, ids) - before).abs().amax((1, 2)).min() > 0.01


def test_the_encoders_place_counts_by_its_difference_from_the_vector(correcting, z, ids):
    """A hypothesis that lies at the vector itself has no difference; one that lies elsewhere has."""
    hypothesis = read(correcting)._replace(sentence_embedding=z)
    with torch.no_grad():
        correcting.decoder.difference.weight[:, :32] = 0  # the hypothesis' own place is not read
    before = correcting.decoder.read(z, hypothesis)["encoder_hidden_states"][:, :4]
    torch.testing.assert_close(before, correcting.decoder.memory(z))
    elsewhere = correcting.decoder.read(z, read(correcting))["encoder_hidden_states"][:, :4]
    assert (elsewhere - before).abs().amax((1, 2)).min() > 0.01


def test_the_padding_of_a_hypothesis_changes_nothing(correcting, z, ids, float32):
    decoder = correcting.decoder
    together = decoder.decode_states(z, ids, read(correcting))
    for k, text in enumerate(TEXTS):
        alone = decoder.decode_states(z[k : k + 1], ids[k : k + 1], read(correcting, [text]))
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-4, rtol=1e-4)
    hypothesis = read(correcting)
    padding = hypothesis.attention_mask == 0
    loud = hypothesis._replace(
        input_ids=hypothesis.input_ids.masked_fill(padding, 9),
        states=hypothesis.states.masked_fill(padding.unsqueeze(-1), 1e3),
    )
    torch.testing.assert_close(decoder.decode_states(z, ids, loud), together)


def test_cls_of_a_hypothesis_is_left_out_and_its_end_is_not(correcting, z):
    read_of = lambda h: correcting.decoder.read(z, h)  # noqa: E731
    hypothesis = read(correcting)
    found = read_of(hypothesis)
    assert found["encoder_hidden_states"].shape == (4, 4 + 12, 32)  # four slots, thirteen pieces less [CLS]
    assert found["encoder_attention_mask"].sum(1).tolist() == [4 + n for n in (3, 12, 2, 4)]
    first = torch.arange(13, device=z.device).view(1, -1, 1) == 0
    changed = hypothesis._replace(states=hypothesis.states.masked_fill(first, 1e3))
    assert torch.equal(read_of(changed)["encoder_hidden_states"], found["encoder_hidden_states"])


def test_gradients_reach_every_weight(correcting, z, ids):
    with torch.no_grad():
        correcting.decoder.difference.weight.zero_()  # as it starts
    correcting.train()
    output = correcting(ids, torch.ones_like(ids), sentence_embedding=z, hypothesis=read(correcting))
    F.cross_entropy(correcting.logits(output["states"]), output["labels"]).backward()
    still = [name for name, p in correcting.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still and len(list(correcting.parameters())) > 30


# In the model


def test_the_model_gives_the_hypothesis_to_its_decoder(correcting, z, ids):
    mask, hypothesis = torch.ones_like(ids), read(correcting)
    output = correcting(ids, mask, sentence_embedding=z, hypothesis=hypothesis)
    expected = correcting.decoder.decode_states(z, ids[:, :-1], hypothesis).flatten(0, 1)
    torch.testing.assert_close(output["states"], expected)
    without = correcting(ids, mask, sentence_embedding=z)["states"]
    torch.testing.assert_close(without, correcting.decoder.decode_states(z, ids[:, :-1]).flatten(0, 1))


def test_generation_reads_the_hypothesis(correcting, z):
    """With the cache and with beams: what greedy search generates is the argmax of a pass without either."""
    hypothesis, c = read(correcting), correcting.config
    bos = torch.full((len(z), 1), c.bos_token_id, device=z.device)
    lm, inputs = correcting.decoder.generator(z, hypothesis)
    found = lm.generate(bos, max_length=9, eos_token_id=None, pad_token_id=c.pad_token_id, do_sample=False, **inputs)
    logits = correcting.logits(correcting.decoder.decode_states(z, found[:, :-1], hypothesis))
    assert torch.equal(logits.argmax(-1), found[:, 1:])
    lm, inputs = correcting.decoder.generator(z)
    other = lm.generate(bos, max_length=9, eos_token_id=None, pad_token_id=c.pad_token_id, do_sample=False, **inputs)
    assert not torch.equal(found, other)


def test_it_is_saved_and_loaded(correcting, z, ids, tmp_path):
    correcting.save_pretrained(tmp_path)
    again = InvertibleSentenceModel.from_pretrained(tmp_path)
    assert again.config.decoder == "correcting" and again.config.expanded_size == 64
    hypothesis = read(again)
    found = again(ids, torch.ones_like(ids), sentence_embedding=z, hypothesis=hypothesis)["states"]
    expected = correcting(ids, torch.ones_like(ids), sentence_embedding=z, hypothesis=hypothesis)["states"]
    assert torch.equal(found, expected)
