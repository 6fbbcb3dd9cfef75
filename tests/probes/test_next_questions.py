"""What a reader asks next: nothing tested was trained on, and every line is on equal terms, with its control."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from invlib import paths
from invlib.data import headlines as headlines_module
from invlib.data.duplicates import duplicate_groups, letters_key
from invlib.encoders.material import load_material
from invlib.probes import next_questions
from invlib.probes.next_questions import NotPossible, Questions, main
from invlib.probes.question_table import answers, lines
from invlib.rows import split_row_name
from invlib.settings import load_preset, select_row
from invlib.training.record import TrainingRecord
from invlib.training.train import train
from invlib.training.trainer import InvertibleTrainer
from tests.conftest import made_sentences

SOURCES = ("cnbc", "guardian", "reuters")


@pytest.fixture(autouse=True)
def wider_splits(monkeypatch):
    """Of a few headlines a fifth is tested, so that each part of the test split has some."""
    monkeypatch.setattr(headlines_module, "TEST_BELOW", 0.25)
    monkeypatch.setattr(headlines_module, "VALIDATION_BELOW", 0.4)


@pytest.fixture
def dated(tmp_path):
    """A folder of three sources, every other headline of 2020; those of 2020 stand there once more, dated 2018."""
    rows = [
        (text, SOURCES[i % 3], "2020-05-01" if i % 2 else "2018-05-01") for i, text in enumerate(made_sentences(220))
    ]
    rows += [(f"{text.title()}!", source, "2018-05-01") for text, source, date in rows if date >= "2020"]
    folder = tmp_path / "dated"
    folder.mkdir()
    for name in SOURCES:
        own = [{"Headlines": text, "Time": date} for text, source, date in rows if source == name]
        pd.DataFrame(own).to_csv(folder / f"{name}_headlines.csv", index=False)
    return folder


@pytest.fixture
def settings(tiny_settings, dated):
    asked = {"question_rows": ("att_pool_32",), "question_steps": 3, "question_sizes": (40,)}
    return replace(tiny_settings, data=str(dated), **asked)


@pytest.fixture
def questions(settings, run):
    return Questions(settings, run)


@pytest.fixture
def trainings(monkeypatch):
    """The number of headlines and the steps of each training that is really begun."""
    begun, real = [], InvertibleTrainer.train

    def counted(self, *args, **more):
        begun.append((len(self.train_dataset), self.args.max_steps))
        return real(self, *args, **more)

    monkeypatch.setattr(InvertibleTrainer, "train", counted)
    return begun


@pytest.fixture
def trained_with(questions, monkeypatch):
    """trained_with(name) -> the material that the line's model would be trained on."""
    given = []
    monkeypatch.setattr(next_questions, "train", lambda settings, run, material, purpose: given.append(material) or [0])

    def find(name):
        questions.model("att_pool_32", name)
        return given[-1]

    return find


PARTS = {
    "until_2019": ("any_year", "own_years", lambda source, date: date < "2020"),
    "reuters": ("any_source", "own_source", lambda source, date: source == "reuters"),
}


@pytest.mark.parametrize("name", PARTS)
def test_no_headline_of_the_other_part_is_trained_on(questions, trained_with, name):
    beside, own, seen = PARTS[name]
    material, splits = trained_with(name), questions.material.corpus.splits
    for split in ("train", "validation"):
        part = material.corpus.splits[split]
        kinds = [seen(*known) for known in zip(part["source"], part["date"], strict=True)]
        assert kinds and all(kinds)
        ids = material.encoder.cut_ids(list(part["text"]), 16)[0]
        assert [material.states[split].input_ids(i).tolist() for i in range(len(kinds))] == ids

    def tested(line):
        part = splits["test"].select(questions.tested_on(line))
        return [seen(*known) for known in zip(part["source"], part["date"], strict=True)]

    assert tested(name) == [False] * len(tested(own)) and tested(own) == [True] * len(tested(own))
    assert questions.tested_on(beside) == questions.tested_on(name) and questions.lines[name].beside == beside
    mixed = trained_with(beside).corpus.splits["train"]  # as many headlines, of both parts
    assert len(mixed) == len(material.corpus.splits["train"]) < len(splits["train"])
    assert {seen(*known) for known in zip(mixed["source"], mixed["date"], strict=True)} == {True, False}
    assert trained_with(own).corpus.data_hash == material.corpus.data_hash != trained_with("all").corpus.data_hash
    assert trained_with("all").corpus.data_hash == questions.material.corpus.data_hash


def test_no_near_duplicate_of_a_tested_headline_is_trained_on(questions, trained_with):
    trained = trained_with("until_2019").corpus.splits["train"]["text"]
    tested = questions.material.corpus.splits["test"].select(questions.tested_on("until_2019"))["text"]
    assert not {letters_key(text) for text in trained} & {letters_key(text) for text in tested}
    together = [*trained, *tested]
    assert duplicate_groups(together) == list(range(len(together)))


def test_a_random_encoder_reads_the_same_headlines(questions, trained_with):
    material = trained_with("random_encoder")
    assert material.corpus is questions.material.corpus and material.encoder.name.startswith("random:")
    assert material.encoder.hash != questions.material.encoder.hash


def test_another_seed_starts_elsewhere_on_the_same_headlines(questions, run):
    found = [questions.model("att_pool_32", name) for name in ("all", "seed_1", "seed_2")]
    models, materials = zip(*found, strict=True)
    assert all(material.corpus is questions.material.corpus for material in materials)
    weights = {name: [model.state_dict()[name] for model in models] for name in models[0].state_dict()}
    changed = [name for name, (a, b, c) in weights.items() if not (a.equal(b) or a.equal(c) or b.equal(c))]
    assert any(name.startswith("pooling") for name in changed) and any("decoder" in name for name in changed)
    assert questions.tested_on("seed_1") == questions.tested_on("all")


def test_lines_are_measured_once_on_equal_terms_with_their_control(settings, run, trainings, monkeypatch):
    asked = ["until_2019", "own_years", "of_40"]
    Questions(settings, run).ask_all(asked)
    table = pd.read_csv(run / "tables" / "next_questions.csv").set_index("line")
    assert list(table.index) == ["all", "any_year", "until_2019", "own_years", "of_40"]  # with what they are beside
    assert len(trainings) == 4 and {steps for _, steps in trainings} == {3} == set(table["steps"])
    assert table.loc["of_40", "train_headlines"] == 40 and table.loc["of_40", "epochs"] > table.loc["all", "epochs"]
    assert table.loc["any_year", "train_headlines"] == table.loc["until_2019", "train_headlines"]
    assert table.loc["any_year", "n"] == table.loc["own_years", "n"] <= settings.n_generate
    for figure in ("generated_accuracy", "shuffled_accuracy", "exact_match", "rank_correlation"):
        value, low, high = (table[f"{figure}{end}"] for end in ("", "_low", "_high"))
        assert ((low <= value) & (value <= high)).all(), figure
    assert table["clear_of_shuffled"].notna().all() and table["recovered_bits"].isna().all()  # no reference here
    assert table["difference"].notna().tolist() == table["compared_with"].notna().tolist() == [0, 0, 1, 0, 1]
    # the next process finds them there, and what is measured otherwise needs no training
    monkeypatch.setattr(next_questions, "teacher_forced", None)
    Questions(settings, run).ask_all(asked)
    monkeypatch.undo()
    assert Questions(replace(settings, n_bootstrap=21), run).ask("att_pool_32", "any_year")
    assert len(trainings) == 4
    assert len(pd.read_csv(run / "tables" / "next_questions.csv")) == 5


def test_a_killed_command_keeps_what_it_has_and_goes_on(questions, settings, run, trainings, monkeypatch):
    real = next_questions.train

    def killed(own, *more):
        if own.variant == "question_of_40":
            raise KeyboardInterrupt
        return real(own, *more)

    monkeypatch.setattr(next_questions, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        questions.ask_all(["of_40"])
    assert pd.read_csv(questions.file)["line"].tolist() == ["all"]
    monkeypatch.setattr(next_questions, "train", real)
    Questions(settings, run, questions.material).ask_all(["of_40"])
    assert pd.read_csv(questions.file)["line"].tolist() == ["all", "of_40"] and len(trainings) == 2


def test_other_settings_are_trained_and_a_line_takes_its_old_place(questions, settings, run, trainings):
    questions.ask("att_pool_32", "all")
    more = Questions(replace(settings, question_steps=4), run, questions.material)
    assert more.ask("att_pool_32", "all") and [steps for _, steps in trainings] == [3, 4]
    assert pd.read_csv(questions.file)["steps"].tolist() == [4]
    assert TrainingRecord.read(run / "models" / "att_pool_32_question_all").purpose == "ablation"


def test_bits_where_the_run_has_a_reference(questions, settings, run):
    reference = replace(select_row(settings, "no_vector_96"), no_vector_steps=3)
    train(reference, run, questions.material)
    questions.ask("att_pool_32", "any_year")
    (line,) = pd.read_csv(questions.file).to_dict("records")
    assert line["recovered_bits_low"] <= line["recovered_bits"] <= line["recovered_bits_high"]
    places = questions.tested_on("any_year")
    own = questions.reference_nats[places].mean() / next_questions.np.log(2)
    assert line["recovered_bits"] < own


def test_what_these_headlines_can_not_answer_is_said_once_and_the_others_go_on(settings, run, tmp_path, capsys):
    file = tmp_path / "mine.csv"
    pd.DataFrame({"Headlines": made_sentences(100)}).to_csv(file, index=False)
    own = Questions(replace(settings, data=str(file), question_sizes=(40, 9999)), run)
    with pytest.raises(NotPossible, match="0 of .* train headlines are dated until 2019, .* takes dates"):
        own.ask("att_pool_32", "own_years")
    own.ask_all(["until_2019", "own_years", "reuters", "of_9999", "of_40"])
    said = capsys.readouterr().out
    assert said.count("later headlines: not possible with these headlines") == 1
    assert said.count("another source: not possible with these headlines: 0 of ") == 1
    assert said.count("fewer headlines: not possible with these headlines: ") == 1 and "and 9999 are needed" in said
    assert pd.read_csv(own.file)["line"].tolist() == ["all", "of_40"]


def test_every_preset_asks_of_rows_that_it_can_train():
    for preset in ("smoke", "cpu", "study", "gpu", "gpu_short", "deck"):
        settings = load_preset(preset)
        for row in settings.question_rows:
            own = select_row(settings, f"{row}_question")
            assert (
                own.schedule == "cosine"
                and own.evaluate_every
                and split_row_name(own.name)[0] in ("att_pool", "hybrid")
            )
            assert own.epochs * min(settings.question_sizes) > settings.question_steps * own.batch_size
        table = lines(settings)
        order = list(table)
        for name, line in table.items():
            assert line.model_of is None or table[line.model_of].trained == line.trained
            if line.beside:
                assert order.index(line.beside) < order.index(name) and table[line.beside].tested == line.tested


def test_an_answer_has_the_control_and_what_the_paired_difference_says():
    figures = {"generated_accuracy": 0.5, "generated_accuracy_low": 0.4, "generated_accuracy_high": 0.6}
    figures |= {"question": "later headlines", "row": "att_pool_32", "shuffled_accuracy": 0.01}
    first = {"line": "any_year", "changed": "of all years", "compared_with": None, "clear_of_shuffled": True}
    second = {"line": "until_2019", "changed": "until 2019", "compared_with": "any_year", "clear_of_shuffled": False}
    second |= {"difference": -0.1, "difference_low": -0.15, "difference_high": -0.05}
    (words,) = answers(pd.DataFrame([figures | first, figures | second])).splitlines()
    assert "until 2019 0.500 [0.400, 0.600] (less of all years: -0.100 [-0.150, -0.050]: worse)" in words
    assert words.count("not clearly better than another headline's vector") == 1 and "0.010 at most" in words


def test_the_command_names_what_it_does_not_know(settings, run, monkeypatch, capsys):
    monkeypatch.setattr(next_questions, "load_material", lambda s: load_material(settings))
    with pytest.raises(SystemExit):
        main(["--preset", "smoke", "--run", os.fspath(run), "--line", "later"])
    assert "unknown line later; lines are all, seed_1, seed_2, any_year" in capsys.readouterr().err


def test_a_key_of_digits_is_known_again_and_lines_of_another_process_stay(questions, monkeypatch):
    """Which wrote one while this line was trained."""

    def outcome(self, row, name):
        paths.write_csv(self.file, pd.DataFrame([{"row": row, "line": "seed_1", "key": "0x"}]))
        return SimpleNamespace(figures={}, counted=None)

    monkeypatch.setattr(Questions, "key", lambda *_: "0123")
    monkeypatch.setattr(Questions, "outcome", outcome)
    assert questions.ask("att_pool_32", "all")
    assert sorted(questions.done()["line"]) == ["all", "seed_1"]
    questions.done().query("line == 'all'").to_csv(questions.file, index=False)  # the only key, all digits
    assert not questions.ask("att_pool_32", "all")
