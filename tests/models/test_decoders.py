"""Decoders: what the vector becomes, what they may see, and a search that is transformers' own."""

import itertools

import numpy as np
import pytest
import torch
import transformers
from transformers import modeling_utils
from transformers.generation import utils as generation_utils

from invlib.models.code_layout import deinterleave, interleave, length_angles, length_size
from invlib.models.config import InvertibleConfig
from invlib.models.decoders import OnePassDecoder
from invlib.models.generation import SEARCH
from invlib.models.memory import Memory
from invlib.models.model import InvertibleSentenceModel
from invlib.models.vocabulary import TiedVocabulary
from invlib.rows import ROWS as MODELS

ROWS = ("rnn", "att_pool")


def vectors(model, n: int = 5) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(n, model.config.embedding_dim, device=model.device)


def spread(model, size: float = 6.0):
    """The same model with louder weights, so that an untrained one says different things of different vectors."""
    with torch.no_grad():
        for name, p in model.decoder.named_parameters():
            if p.ndim > 1 and not name.endswith("slot_embeddings"):
                p.mul_(1 if p is getattr(model.decoder.vocabulary, "weight", None) else size)
    return model


def next_logits(model, z: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
    """Logits after each prefix, (B, V), by a full pass without any cache."""
    return model.logits(model.decoder.decode_states(z, prefix))[:, -1]


# The memory


def test_the_vector_is_cut_into_slots_that_share_one_layer():
    torch.manual_seed(0)
    memory, z = Memory(InvertibleConfig(embedding_dim=12, slots=3, n_embd=5)), torch.randn(2, 12)
    expected = [memory.linear(z[:, 4 * k : 4 * k + 4]) + memory.slot_embeddings[k] for k in range(3)]
    torch.testing.assert_close(memory(z), torch.stack(expected, 1))


def test_a_slot_as_wide_as_the_decoder_has_no_layer():
    memory, z = Memory(InvertibleConfig(embedding_dim=12, slots=1, n_embd=12)), torch.randn(2, 12)
    assert not list(memory.parameters()) and torch.equal(memory(z), z.unsqueeze(1))


def test_a_prefix_is_a_memory_token_of_its_own_and_numbers_are_read_at_one_size():
    torch.manual_seed(0)
    memory = Memory(InvertibleConfig(embedding_dim=16, slots=3, n_embd=5, prefix_size=4, code_weight=0.2))
    prefix, code = torch.nn.functional.normalize(torch.randn(2, 4), dim=1), torch.randn(2, 12)
    code = 0.2 * torch.nn.functional.normalize(code, dim=1)
    found = memory(torch.cat([prefix, code], dim=1))
    assert found.shape == (2, 4, 5)
    torch.testing.assert_close(found[:, 0], memory.prefix(2 * prefix))
    expected = memory.linear(code[:, :4] * 12**0.5 / 0.2) + memory.slot_embeddings[0]
    torch.testing.assert_close(found[:, 1], expected)


def test_an_interleaved_code_is_collected_into_a_token_for_each_place():
    torch.manual_seed(0)
    size = {"embedding_dim": 6 + length_size(9) + 30, "prefix_size": 6, "slots": 9, "numbers_per_piece": 8}
    memory = Memory(InvertibleConfig(n_embd=5, code_weight=0.2, **size))
    lengths, values = torch.tensor([4, 7]), torch.randn(2, 9, 8)
    code = torch.cat([length_angles(lengths, 9), interleave(values, lengths, 30)], dim=1) / memory.code_scale
    found = memory(torch.cat([torch.randn(2, 6), code], dim=1))
    there = deinterleave(interleave(values, lengths, 30), lengths, 9, 8)
    torch.testing.assert_close(found[:, 1:], memory.linear(there) + memory.slot_embeddings)
    assert (there[0, 4:] == 0).all() and (there[0, :4, :7] == values[0, :4, :7]).all()


@pytest.mark.parametrize("queries", [1, 40])  # one, and more than the decoder has positions
def test_queries_that_match_no_position_are_built(tiny_model, queries):
    model = tiny_model("multi_query", embedding_dim=80, queries=queries)
    assert len(model.reconstruct(["oil falls"])) == 1


def test_a_position_starts_out_looking_at_its_own_slot(tiny_model):
    """In the first cross-attention the score of slot t is the highest of all at position t, whatever the text."""
    share = {}
    for start in (True, False):
        model = tiny_model("multi_query", embedding_dim=64, position_start=start)
        decoder, k = model.decoder, model.config.slots
        block = decoder.gpt2.transformer.h[0]
        embeddings = decoder.gpt2.transformer.wpe.weight[:k] + decoder.vocabulary(torch.randint(5, 40, (k,)))
        n = block.crossattention.embed_dim
        queries = block.crossattention.q_attn(block.ln_cross_attn(embeddings))
        keys = block.crossattention.c_attn(decoder.memory(vectors(model, 1))[0])[:, :n]
        share[start] = ((queries @ keys.T).argmax(1) == torch.arange(k)).float().mean()
    assert share[True] > 0.8 > 0.5 > share[False]


# The words


WORDS = InvertibleConfig(vocab_size=20, hidden_size=6, n_embd=4)


@pytest.mark.parametrize("kind", ["own", "encoder"])
def test_logits_of_candidates_are_those_of_the_full_softmax(kind):
    torch.manual_seed(0)
    words = TiedVocabulary(kind, WORDS)
    words.set_table(torch.randn(20, 6))
    torch.nn.init.normal_(words.bias)
    states, candidates = torch.randn(3, 4), torch.tensor([2, 3, 11, 19])
    full = words.logits(states)
    assert full.shape == (3, 20)
    torch.testing.assert_close(words.logits(states, candidates), full[:, candidates])
    assert words(torch.tensor([[1, 2]])).shape == (1, 2, 4)


def test_the_encoders_words_are_read_and_not_saved():
    torch.manual_seed(0)
    words, table, ids = TiedVocabulary("encoder", WORDS), torch.randn(20, 6), torch.tensor([[4, 7]])
    words.set_table(table)
    torch.testing.assert_close(words(ids), words.to_decoder(table[ids] / table.std()))
    assert "table" not in words.state_dict() and "table" not in dict(words.named_parameters())


def test_own_words_are_tied():
    words = TiedVocabulary("own", WORDS)
    assert torch.equal(words(torch.tensor([5])), words.weight[[5]] * 2)  # times the root of the width
    torch.testing.assert_close(words.logits(torch.ones(4)), words.weight.sum(1) + words.bias)


# What a decoder may see


@pytest.mark.parametrize("row", ROWS)
def test_a_decoder_sees_no_later_word(tiny_model, row):
    model = tiny_model(row)
    z, ids = vectors(model), torch.randint(5, 30, (5, 8), device=model.device)
    before = model.decoder.decode_states(z, ids)
    ids[:, 5] = 4
    after = model.decoder.decode_states(z, ids)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("row", [*ROWS, "encoder_only"])
def test_the_vector_reaches_every_position(tiny_model, row):
    model = tiny_model(row)
    z = vectors(model).requires_grad_()
    ids = torch.randint(5, 30, (5, 8), device=model.device)
    for t in range(8):
        (gradient,) = torch.autograd.grad(model.decoder.decode_states(z, ids)[:, t].pow(3).sum(), z)
        assert gradient.abs().sum() > 0


def test_the_rnn_is_fed_the_vector_at_no_later_step(tiny_model):
    """The LSTM's input is as wide as a word, and two vectors with the same first state decode the same."""
    model = tiny_model("rnn")
    decoder = model.decoder
    assert decoder.lm["lstm"].input_size == model.config.n_embd
    z, ids = vectors(model), torch.randint(5, 30, (5, 8), device=model.device)
    start = decoder.start(z).unflatten(1, (2, -1))
    torch.testing.assert_close(decoder.decode_states(z, ids), decoder.states(ids, start))


def test_one_pass_reads_positions_off_the_vector_alone(tiny_model):
    model = tiny_model("encoder_only")
    assert isinstance(model.decoder, OnePassDecoder)
    z = vectors(model)
    ids = torch.randint(5, 30, (2, 5, 8), device=model.device)
    assert torch.equal(model.decoder.decode_states(z, ids[0]), model.decoder.decode_states(z, ids[1]))
    longer = model.decoder.decode_states(z, torch.zeros(5, 12, dtype=torch.long, device=model.device))
    torch.testing.assert_close(longer[:, :8], model.decoder.decode_states(z, ids[0]))


# The search


@pytest.mark.parametrize("row", ROWS)
def test_beam_of_one_is_greedy(tiny_model, row):
    """Held against a loop without a cache that takes the likeliest word at each step."""
    model = spread(tiny_model(row))
    z = vectors(model)
    found = model.generate_ids(z, num_beams=1)
    assert len({tuple(ids) for ids in found}) > 1
    end = model.config.eos_token_id
    for vector, ids in zip(z, found, strict=True):
        prefix = torch.tensor([[model.config.bos_token_id]], device=model.device)
        with torch.no_grad():
            while prefix.shape[1] < model.config.max_length and (prefix.shape[1] == 1 or prefix[0, -1] != end):
                word = next_logits(model, vector[None], prefix).argmax(-1, keepdim=True)
                prefix = torch.cat([prefix, word], 1)
        assert prefix[0, 1:].tolist() == ids


@pytest.mark.parametrize("row", ROWS)
def test_teacher_forced_argmax_is_what_greedy_generates_from_its_own_prefix(tiny_model, row):
    model = spread(tiny_model(row))
    z = vectors(model)
    for vector, ids in zip(z, model.generate_ids(z), strict=True):
        full = torch.tensor([[model.config.bos_token_id, *ids]], device=model.device)
        with torch.no_grad():
            out = model(full, torch.ones_like(full), sentence_embedding=vector[None])
            assert model.logits(out["states"]).argmax(-1).tolist() == ids


@pytest.mark.parametrize("row", [*ROWS, "encoder_only"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_decodes_as_each_vector_alone(tiny_model, row, num_beams):
    model = spread(tiny_model(row))
    z = vectors(model)
    together = model.generate_ids(z, num_beams=num_beams)
    assert together == model.generate_ids(z, num_beams=num_beams, batch_size=2)
    assert together == [model.generate_ids(v[None], num_beams=num_beams)[0] for v in z]


@pytest.mark.parametrize("row", ROWS)
def test_nothing_is_warned_of_where_one_text_ends_before_another(tiny_model, monkeypatch, row):
    model = spread(tiny_model(row))
    warned, lengths = [], []
    for place in (modeling_utils, generation_utils):
        monkeypatch.setattr(place.logger, "warning_once", warned.append)
        monkeypatch.setattr(place.logger, "warning", warned.append)
    for bias in (0.1, 0.3, 1.0):  # the end token's: some texts end at once, some never
        with torch.no_grad():
            model.decoder.vocabulary.bias[model.config.eos_token_id] = bias
        lengths.append({len(ids) for ids in model.generate_ids(vectors(model, 30))})
    assert max(len(found) for found in lengths) > 1 and not warned


@pytest.fixture
def toy():
    """toy(row) -> a model over six words whose texts have at most three."""

    def build(row: str) -> InvertibleSentenceModel:
        torch.manual_seed(11)
        pooling, decoder = ("rnn", "lstm") if row == "rnn" else ("constant", "transformer")
        config = InvertibleConfig(
            row=row, pooling=pooling, decoder=decoder, hidden_size=8, vocab_size=6, embedding_dim=8, slots=2,
            n_embd=8, n_layer=1, n_head=2, n_inner=16, n_positions=8, word_embeddings="own", dropout=0.0,
            max_length=4, pad_token_id=0, bos_token_id=1, eos_token_id=2, unk_token_id=3,
        )  # fmt: skip
        model = InvertibleSentenceModel(config).eval()
        with torch.no_grad():
            model.decoder.vocabulary.weight.normal_(0, 0.3)
        return spread(model, 15.0)

    return build


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_an_exhaustive_beam_finds_the_optimum(toy, row, length_penalty):
    """All texts of three words at most are scored one by one; a beam as wide as their number finds the best."""
    model, z = toy(row), vectors(toy(row), 12)
    end, words, best = model.config.eos_token_id, range(6), [(-np.inf, ())] * len(z)
    for n in (1, 2, 3):
        texts = [t for t in itertools.product(words, repeat=n) if end not in t[:-1] and (n == 3 or t[-1] == end)]
        labels = torch.tensor(texts)
        ids = torch.cat([torch.ones(len(texts), 1, dtype=torch.int64), labels[:, :-1]], 1)
        for i, vector in enumerate(z):
            with torch.no_grad():
                states = model.decoder.decode_states(vector.expand(len(texts), -1), ids)
                log_p = model.logits(states).log_softmax(-1).gather(2, labels[:, :, None]).sum((1, 2))
            best[i] = max(best[i], *zip((log_p / n**length_penalty).tolist(), texts, strict=True))
    search = {"num_beams": len(words) ** 3, "length_penalty": length_penalty, "early_stopping": "never"}
    assert [tuple(ids) for ids in model.generate_ids(z, **search)] == [text for _, text in best]
    greedy = [tuple(ids) for ids in model.generate_ids(z)]
    assert greedy != [text for _, text in best]  # else this test would pass without a beam


def test_sampling_goes_through(tiny_model):
    model = tiny_model()
    z = vectors(model)
    torch.manual_seed(0)
    first = model.generate_ids(z, do_sample=True, temperature=2.0)
    second = model.generate_ids(z, do_sample=True, temperature=2.0)
    assert first != second
    assert model.generate_ids(z, do_sample=True, top_k=1) == model.generate_ids(z)


# Where training starts


@pytest.mark.parametrize("row", MODELS)
def test_every_weight_starts_at_the_deviation_that_its_decoder_chooses(tiny_model, row):
    """The published models started so; what transformers does to new layers is not to change it."""
    model = tiny_model(row, n_embd=64, n_inner=256, dropout=0.0)
    words = model.decoder.vocabulary
    std = {name: p.detach().std().item() for name, p in model.decoder.named_parameters()}
    if row == "rnn":
        assert words.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
        assert std["lm.lstm.weight_hh_l0"] == pytest.approx((2 / (5 * 64)) ** 0.5, rel=0.1)  # Glorot & Bengio, 2010
        assert std["lm.lstm.bias_ih_l0"] == 0
    else:
        one_pass = row == "encoder_only"  # torch's own start
        for layer in (words.to_decoder, words.to_table):
            expected = (3 * layer.in_features) ** -0.5 if one_pass else 0.02
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
            assert one_pass or layer.bias.abs().max() == 0
    if row in ("cls_decoder", "att_pool", "multi_query", "hybrid", "no_vector"):
        assert std["gpt2.transformer.h.0.mlp.c_fc.weight"] == pytest.approx(0.02, rel=0.1)
        assert std["gpt2.transformer.h.0.attn.c_proj.weight"] == pytest.approx(0.02 / 2, rel=0.1)  # of two layers
        by_query = row in ("multi_query", "hybrid")
        assert std["gpt2.transformer.wpe.weight"] == pytest.approx(1.0 if by_query else 0.02, rel=0.1)


def test_every_pooling_starts_as_torch_has_it(tiny_model):
    """transformers re-initialises no layer of ours: the recurrent ones keep torch's uniform start."""
    pooling = tiny_model("rnn", embedding_dim=64).pooling
    assert pooling.embeddings.weight.std().item() == pytest.approx(1, rel=0.1)
    assert pooling.lstm.weight_hh_l0.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.1)
    proj = tiny_model("att_pool", embedding_dim=64).pooling.proj[0]
    assert proj.weight.std().item() == pytest.approx((3 * proj.in_features) ** -0.5, rel=0.1)


# Scores


@pytest.mark.parametrize("row", [*ROWS, "encoder_only"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_scores_are_those_of_the_text_that_was_generated(tiny_model, row, num_beams):
    model = spread(tiny_model(row))
    z = vectors(model)
    decoded = model.decode(z, num_beams=num_beams, return_scores=True)
    ids = model.generate_ids(z, num_beams=num_beams)
    assert [d.text for d in decoded] == model.decode(z, num_beams=num_beams) == model.text(ids)
    for vector, found, text in zip(z, decoded, ids, strict=True):
        prefix = torch.tensor([[model.config.bos_token_id, *text]], device=model.device)
        with torch.no_grad():  # without padding, cache or batch
            log_p = model.logits(model.decoder.decode_states(vector[None], prefix[:, :-1]))[0].log_softmax(-1)
        expected = log_p[torch.arange(len(text)), torch.tensor(text)]
        assert found.log_probability == pytest.approx(expected.sum().item(), abs=1e-3)
        assert found.probabilities == pytest.approx(expected.exp().tolist(), abs=1e-4)
        assert list(found.pieces) == model.encoder.tokenizer.convert_ids_to_tokens(text)
        assert len(found.pieces) == len(found.probabilities)


def test_beams_own_score_is_the_log_probability_of_its_text(tiny_model):
    model = spread(tiny_model())
    z = vectors(model, 3)
    lm, inputs = model.decoder.generator(z)
    bos = torch.full((3, 1), model.config.bos_token_id, device=model.device)
    config = transformers.GenerationConfig(
        max_length=model.config.max_length, num_beams=3, length_penalty=0.0, return_dict_in_generate=True,
        output_scores=True, bos_token_id=model.config.bos_token_id, eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )  # fmt: skip
    beam = lm.generate(bos, attention_mask=torch.ones_like(bos), generation_config=config, **inputs)
    found = model.decode(z, num_beams=3, length_penalty=0.0, return_scores=True)
    assert [d.log_probability for d in found] == pytest.approx(beam.sequences_scores.tolist(), abs=1e-3)


def test_scores_belong_to_one_text_a_vector(tiny_model):
    model = tiny_model()
    assert model.decode(np.zeros((0, 32)), return_scores=True) == model.token_probabilities(np.zeros((0, 32)), []) == []
    with pytest.raises(ValueError, match="1 vectors and the ids of 2 texts"):
        model.token_log_probabilities(np.zeros((1, 32)), [[5], [6]])


# Options


@pytest.mark.parametrize("option", [
    "num_beam", "temprature", "max_length", "max_new_tokens", "return_dict_in_generate", "output_scores",
    "num_return_sequences", "eos_token_id", "use_cache", "encoder_hidden_states", "logits_processor",
    "generation_config",
])  # fmt: skip
def test_what_is_no_option_of_a_search_says_what_is(tiny_model, option):
    with pytest.raises(TypeError, match=f"no option {option}: .*num_beams.*top_p.*return_scores.*max_length is 16"):
        tiny_model().decode(np.zeros((1, 32)), **{option: 3})


def test_a_decoder_without_search_takes_no_option(tiny_model):
    with pytest.raises(TypeError, match="no option do_sample: the one_pass decoder takes num_beams, batch_size;"):
        tiny_model("encoder_only").decode(np.zeros((1, 32)), do_sample=True)


@pytest.mark.parametrize("option", SEARCH)
def test_every_option_goes_through(tiny_model, option):
    values = {"bad_words_ids": [[9]], "suppress_tokens": [9], "do_sample": True, "early_stopping": True}
    values |= dict.fromkeys(("min_length", "no_repeat_ngram_size", "top_k"), 3)
    extra = {"do_sample": True} if option in ("temperature", "top_k", "top_p", "typical_p", "min_p") else {}
    beams = 2 if option in ("length_penalty", "early_stopping") else 1
    assert len(tiny_model().decode(np.zeros((2, 32)), beams, **{option: values.get(option, 0.5)}, **extra)) == 2


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_below_one_is_refused(tiny_model, batch_size):
    model, z = tiny_model(), np.zeros((1, 32))
    for call in (
        lambda: model.encode(["oil"], batch_size=batch_size), lambda: model.decode(z, batch_size=batch_size),
        lambda: model.generate_ids(z, batch_size=batch_size), lambda: model.encode([], batch_size=batch_size),
        lambda: model.token_log_probabilities(z, [[5]], batch_size=batch_size),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
            call()
