"""Every system that the card of a run compares: its models, those of the repository, and the controls."""

import dataclasses
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from invlib import paths
from invlib.encoders.material import Material
from invlib.inversion.invert import Chain
from invlib.inversion.meaning import BETWEEN, MeaningReader
from invlib.inversion.train_corrector import SHIPPED as SHIPPED_INVERTER
from invlib.measures.channel import noise_of_db
from invlib.models.arithmetic_code import ArithmeticCode, payload_sizes
from invlib.models.codec import Codec
from invlib.models.model import InvertibleSentenceModel
from invlib.models.packed_ids import PackedIds
from invlib.models.text_code import TextCode
from invlib.probes import systems
from invlib.probes.card_data import CardData
from invlib.probes.robustness import packed_ids_by_bits, prefix_of_size
from invlib.probes.systems import System
from invlib.settings import Settings
from invlib.training.record import records

ROWS = ("hybrid", "att_pool", "mean_decoder")  # of a run's models, those that have a card
SIZES = 384, 768  # of packed_ids; the arithmetic code has the first
WHOLE = f"packed_ids_{SIZES[-1]}"  # behind the whole embedding, where its meaning is read
PIECES = 30  # of a text, that packed_ids have room for: 99 % of headlines are shorter
MADE_FOR_DB = 3  # the noise that the arithmetic code is made for
CODED = 200  # training headlines that its payload sizes are chosen by; a small card takes fewer


def lineup(run: str | Path | None, settings: Settings, material: Material, data: CardData) -> dict[str, System]:
    """The systems by name, learned ones first.

    Models of the run count where they were trained on this split. Those that search each text (the chain of notebook
    12, the meaning read, and the recombined headlines) are left out where `settings.n_card_searched` is 0.
    """
    trained = models(run, settings, material)
    found = {name: systems.of_codec(model, model.config.row == "mean_decoder") for name, model in trained.items()}
    known = material.dataset("train", layers=())
    retrieval = material.encoder, known.ids(), known.sentence, data.max_length
    searched = {}
    if settings.n_card_searched:
        rounds = settings.inversion_rounds
        inverters = {name: model for name, model in trained.items() if model.config.decoder == "correcting"}
        searched = {f"{name}, searched": systems.with_chain(m, Chain(rounds=rounds)) for name, m in inverters.items()}
        whole = packed(SIZES[-1], np.eye(material.encoder.hidden_size), settings, material)
        searched |= read_by_meaning({**trained, WHOLE: whole}, dataclasses.replace(BETWEEN, rounds=rounds))
        searched["recombined headlines"] = systems.recombined_headlines(*retrieval, rounds=rounds, seed=settings.seed)
    prefix = {size: prefix_of_size(material, size) for size in SIZES}
    packed_ids = {size: packed(size, prefix[size], settings, material) for size in SIZES}
    controls = {f"packed_ids_{size}": systems.of_codec(model) for size, model in packed_ids.items()}
    controls[f"arithmetic_code_{SIZES[0]}"] = systems.of_codec(arithmetic(SIZES[0], settings, material, data.reference))
    controls["nearest headline"] = data.nearest
    by_hand = systems.SpliceByHand(encoder=material.encoder, max_length=data.max_length)
    seen = {"splice by hand": by_hand, "one of the two headlines": systems.OneEnd()}
    return found | searched | controls | seen


def models(run: str | Path | None, settings: Settings, material: Material) -> dict[str, InvertibleSentenceModel]:
    """The run's models that have a card, by name, and those of the repository that it has none of.

    Those of another encoder are left out; `settings.n_card_models` are enough, where it is not 0.
    """
    try:
        folder = paths.find_run(run, needs="models")
    except FileNotFoundError:
        folder = paths.run_folder(run)
    names = {}
    for name, record in records(folder).items():
        fits = record.judges(settings, material.corpus.data_hash, material.encoder.hash)
        if record.purpose == "study" and record.settings.row in ROWS and fits:
            names[name] = folder / "models" / name
    for own in (*sorted((paths.DATA / "models").glob("hybrid_*")), SHIPPED_INVERTER):
        names.setdefault(own.name, own)
    loaded = ((name, InvertibleSentenceModel.from_pretrained(place)) for name, place in names.items())
    own = ((name, model) for name, model in loaded if model.config.encoder_hash == material.encoder.hash)
    return dict(islice(own, settings.n_card_models or None))


def read_by_meaning(trained: Mapping[str, Codec], chain: Chain) -> dict[str, System]:
    """Those whose prefix is the whole embedding, read by a `MeaningReader` with the first inverter there is."""
    inverters = [model for model in trained.values() if getattr(model.config, "decoder", None) == "correcting"]
    found = {}
    for name, model in trained.items():
        whole = model.components is not None and model.components.shape[0] == model.components.shape[1]
        if whole and inverters:
            reader = systems.of_codec(MeaningReader(model, inverters[0], chain))
            found[f"{name}, meaning read"] = dataclasses.replace(reader, costly=True)
    return found


def packed(size: int, components: np.ndarray, settings: Settings, material: Material) -> PackedIds:
    """The control of this size and prefix (H, p) with the fewest bits a number at which `PIECES` fit, or the most."""
    by_bits = packed_ids_by_bits(material.encoder, components, size, settings.code_weight, settings.max_length)
    made = list(by_bits.values())
    return next((model for model in made if model.capacity >= min(PIECES, settings.max_length - 1)), made[-1])


def arithmetic(size: int, settings: Settings, material: Material, language_model) -> ArithmeticCode:
    """The arithmetic code of this size, made for `MADE_FOR_DB`."""
    text_code = TextCode(language_model)
    coded = material.dataset("train", min(CODED, 10 * settings.n_card), ())
    sizes = payload_sizes(text_code.bits(coded.ids()))
    shape = prefix_of_size(material, size), size, noise_of_db(MADE_FOR_DB), sizes
    return ArithmeticCode(text_code, material.encoder, *shape, settings.code_weight, settings.max_length)
