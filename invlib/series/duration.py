"""How long a run will take on this machine: a few steps of each of its models are timed, and multiplied."""

import dataclasses
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from invlib import paths
from invlib.device import device
from invlib.encoders.material import load_material
from invlib.evaluation.controls import no_vector_names
from invlib.language_models.own_network import LanguageModelSettings, language_model_settings
from invlib.presets import read_presets
from invlib.rows import split_row_name
from invlib.series.timing import step_seconds
from invlib.settings import Settings, load_preset, row_names, select_row

FILE = "step_seconds.json"  # in the run's folder
ENOUGH = 700  # headlines that are encoded for it
PATIENCE = 300  # seconds that timing may take; after them the run begins without
SHORT = 30  # minutes; for a longer run a preset is named that fits
SHORTER = {"cuda": ("gpu", "gpu_short", "smoke")}  # presets of a device, the longest first
OTHERWISE = ("study", "cpu", "smoke")
TRAINING = {"01", "03", "appendix"}  # notebooks that train models of the run
QUICK = "smoke"  # its models are tiny: the minutes of its notebooks hold their training


class Planned(NamedTuple):
    """A training of a run: the notebook that does it, the model, its settings, and at most so many steps."""

    notebook: str
    name: str
    settings: Settings | LanguageModelSettings
    steps: int | None


def planned(settings: Settings, notebooks: Iterable[str], hidden_size: int) -> list[Planned]:
    """The trainings of these notebooks. The ablations are timed as their hybrid; an inverter of 12's is left out."""
    rows, found = row_names(settings, hidden_size), []
    for name in rows + no_vector_names(settings, rows):
        own = select_row(settings, name)
        steps = own.no_vector_steps if own.row == "no_vector" else own.steps
        found.append(Planned("01" if own.row == "rnn" else "03", name, own, steps))
    if settings.language_model == "own":
        found += [Planned("03", own.name, own, own.steps) for own in language_model_settings(settings)]
    dim = next((split_row_name(name)[1] for name in rows if name.startswith("hybrid")), 384)
    hybrid = f"hybrid_{dim}"
    ablation = Planned("appendix", hybrid, select_row(settings, hybrid), settings.ablation_steps)
    found += [ablation] * (len(settings.ablations) + 1)  # and the reader's own variant
    return [training for training in found if training.notebook in set(notebooks)]


def measured(settings: Settings, notebooks: Iterable[str]) -> dict:
    """Seconds of a step of each model that these notebooks train, by its name; and the encoder's hidden_size."""
    few = dataclasses.replace(settings, n_headlines=min(settings.n_headlines or ENOUGH, ENOUGH))
    material = load_material(few, progress=False)
    hidden_size = material.encoder.hidden_size
    trainings = {training.name: training.settings for training in planned(settings, notebooks, hidden_size)}
    seconds = {name: step_seconds(own, material) for name, own in trainings.items()}
    return {"hidden_size": hidden_size, "seconds": seconds}


def known(folder: Path, settings: Settings, notebooks: Iterable[str]) -> dict:
    """`measured`, which the run's folder keeps: it is measured again on another device, or with other threads.

    It runs in a process of its own, which gives its memory back to the notebooks. RuntimeError where that was killed,
    or not done after PATIENCE: the folder keeps that, too.
    """
    here = {"device": device().type, "threads": torch.get_num_threads(), "notebooks": sorted(set(notebooks))}
    found = paths.read_json(folder / FILE) if (folder / FILE).exists() else {}
    if any(found.get(key) != value for key, value in here.items()):
        try:
            found = here | in_own_process(PATIENCE, measured, settings, notebooks)
        except RuntimeError as error:
            found = here | {"failed": str(error)}
        paths.write_json(folder / FILE, found)
    if "failed" in found:
        raise RuntimeError(found["failed"])
    return found


def in_own_process(seconds: float, work: Callable, *arguments) -> Any:
    """What work(*arguments) returns or raises in a fresh process.

    RuntimeError where it was killed, or is not done after so many seconds, and then it is.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(sender, work, arguments))
    process.start()
    sender.close()  # else its end would not be seen here
    try:
        if not receiver.poll(seconds):
            raise RuntimeError(f"it was not done after {seconds:g} s")
        result, error = receiver.recv()
    except EOFError:
        raise RuntimeError("its process was killed") from None
    finally:
        process.kill()
        process.join()
    if error:
        raise error
    return result


def send_result(sender: Connection, work: Callable, arguments: tuple) -> None:
    """In the process: what work(*arguments) returns, or its error."""
    try:
        sender.send((work(*arguments), None))
    except Exception as error:
        sender.send((None, error))


def limits(settings: Settings, notebooks: Iterable[str]) -> float | None:
    """Minutes after which the trainings of these notebooks are stopped; None where one has no limit in minutes."""
    minutes = [training.settings.minutes for training in planned(settings, notebooks, 384)]  # whatever H is
    return None if None in minutes else sum(filter(None, minutes))


def training_minutes(settings: Settings, notebooks: Iterable[str], found: dict) -> float | None:
    """Minutes that these notebooks train; None where a model was not timed, or has no number of steps."""
    seconds = 0.0
    for training in planned(settings, notebooks, found["hidden_size"]):
        if training.steps is None or training.name not in found["seconds"]:
            return None
        own = training.steps * found["seconds"][training.name]
        seconds += min(own, 60 * training.settings.minutes) if training.settings.minutes else own
    return seconds / 60


def other_minutes(preset: str, notebooks: Iterable[str]) -> dict[str, float | None]:
    """Minutes of each notebook without its training, from presets.yaml; None where it has none."""
    table = read_presets().get("runner", {}).get(preset, {}).get("minutes", {})
    return {number: table.get(number) for number in notebooks}


def duration(settings: Settings, notebooks: list[str], folder: Path) -> str:
    """How long these notebooks ('00', '01', ...) take here, in words; where it is long, a preset that is short enough.

    Their training is timed, unless minutes limit all of it; its time is kept in `folder`. The rest is presets.yaml's.
    """
    rest = other_minutes(settings.preset, notebooks)
    minutes, unknown = sum(filter(None, rest.values())), list(rest.values()).count(None)
    words = [f"and {unknown} of a time not known yet"] if unknown else []
    if settings.preset != QUICK and not TRAINING.isdisjoint(notebooks):
        if (most := limits(settings, notebooks)) is not None:
            minutes += most
            words.append(f"at most {most:.0f} of them for training, its limit")
        else:
            training, timed = timed_training(settings, notebooks, folder, minutes)
            minutes += training
            words += timed
    return f"about {minutes:.0f} min" + "".join(f", {part}" for part in words)


def timed_training(settings: Settings, notebooks: list[str], folder: Path, others: float) -> tuple[float, list[str]]:
    """Minutes of training, 0 where they can't be told, and words about them; others: minutes of all else."""
    try:
        found = known(folder, settings, notebooks)
    except RuntimeError as error:
        return 0.0, [f"and training, which could not be timed: {error}"]
    training = training_minutes(settings, notebooks, found)
    words = ["and training until a plateau" if training is None else f"{training:.0f} of them for training, timed here"]
    if others + (training or 0) > SHORT and (other := shorter(settings, notebooks, found)):
        words.append(f"above half an hour; {other}")
    return training or 0.0, words


def shorter(settings: Settings, notebooks: list[str], found: dict) -> str | None:
    """A preset that ends within SHORT minutes here, in words; None where this is the shortest."""
    presets = SHORTER.get(device().type, OTHERWISE)
    for preset in presets[presets.index(settings.preset) + 1 :] if settings.preset in presets else presets:
        other = load_preset(preset, encoder=settings.encoder)
        training = 0 if preset == QUICK else training_minutes(other, notebooks, found)
        minutes = sum(filter(None, other_minutes(preset, notebooks).values())) + (training or 0)
        if training is not None and minutes <= SHORT:
            tiny = ", with models too small to learn much" if preset == QUICK else ""
            return f"--preset {preset} takes about {minutes:.0f} min{tiny}"
    return None
