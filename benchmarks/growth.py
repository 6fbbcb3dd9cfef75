"""How do time and memory grow with the number of headlines, and decoding with the vector's numbers and the beam?

Made-up headlines, and an encoder of two narrow layers in random weights: the time is that of the package's own work.
Each size runs in a process of its own; what follows the corpus has its training headlines. `memory_mb` is the most that
it held at once, without pages of files that it reads; `cache_mb` is what it keeps on disk. A line's ratio is that of
the times of one headline: 1 is linear growth.
"""

import re
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from benchmarks.common import compare, spread, write
from invlib.data.headlines import load_headlines
from invlib.data.synthetic import synthetic_headlines
from invlib.encoders.batches import StatesDataset, in_order
from invlib.encoders.frozen import load_encoder
from invlib.encoders.token_states import token_states
from invlib.measures.similarity import rank_correlation, recall_at_k
from invlib.models.model import build_model
from invlib.settings import load_preset, select_row

SIZES = (1_000, 10_000, 50_000, 500_000)
DIMS, BEAMS, VECTORS = (32, 384, 2560), (1, 5, 10), 64
HIDDEN = 32
STAGES = {
    "corpus": "headlines read, freed of near-duplicates and split",
    "cache": "token states computed and kept on disk",
    "epoch": "token states read in batches, once",
    "measures": "rank correlation and recall of the vectors",
}


def narrow_encoder(folder: Path, texts: list[str]) -> str:
    """A BERT of two narrow layers over the words of these texts, saved in `folder`."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 2 * HIDDEN}
    config = BertConfig(vocab_size=len(words) + 5, hidden_size=HIDDEN, max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    return str(folder)


class Memory:
    """The most memory of its own that this process held since it was asked last, in MB; None where Linux is not."""

    def __init__(self):
        self.most = 0.0
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        while (held := own_memory()) is not None:
            self.most = max(self.most, held)
            time.sleep(0.05)

    def asked(self) -> float | None:
        held, self.most = max(self.most, own_memory() or 0.0), 0.0
        return round(held) or None


def own_memory() -> float | None:
    """Memory of this process without pages of files, in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (kilobytes,) = re.findall(r"RssAnon:\s+(\d+)", status.read_text())
    return int(kilobytes) / 1000


def stages(n: int, file: str, encoder_folder: str) -> dict[str, dict]:
    """Seconds and memory of each stage for n headlines of a file; and the cache's size."""
    memory, found, encoder = Memory(), {}, load_encoder(encoder_folder)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()

        def ended(stage: str, **more) -> None:
            nonlocal started
            found[stage] = {"seconds": time.perf_counter() - started, "memory_mb": memory.asked(), **more}
            started = time.perf_counter()

        memory.asked()
        texts = load_headlines(file).splits["train"]["text"][:]
        ended("corpus", headlines=len(texts))
        states = token_states(encoder, texts, cache=folder, progress=False)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
        ended("cache", cache_mb=round(size))
        for _ in in_order(StatesDataset(states), 64):
            pass
        ended("epoch")
        vectors = np.asarray(states.sentence)
        rank_correlation(vectors, vectors)
        recall_at_k(vectors, vectors)
        ended("measures")
    return found


def growth_lines() -> list[dict]:
    """A line for each stage and size: milliseconds of a headline, against the smallest size."""
    texts, lines = synthetic_headlines(max(SIZES), seed=0), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder, measured = narrow_encoder(folder, texts[:20_000]), {}
        for n in SIZES:
            (folder / f"{n}.txt").write_text("\n".join(texts[:n]))
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                measured[n] = pool.submit(stages, n, str(folder / f"{n}.txt"), encoder).result()
            print(n, measured[n], file=sys.stderr, flush=True)
    for stage, what in STAGES.items():
        counts = {n: n if stage == "corpus" else measured[n]["corpus"]["headlines"] for n in SIZES}
        each = {n: 1000 * measured[n][stage]["seconds"] / counts[n] for n in SIZES}
        for n in SIZES[1:]:
            more = {key: value for key, value in measured[n][stage].items() if key != "seconds"}
            more["memory_mb_of_fewest"] = measured[SIZES[0]][stage]["memory_mb"]
            ends = {"ours": spread([each[n]]), "theirs": spread([each[SIZES[0]]])}
            ratio = spread([each[SIZES[0]] / each[n]])
            lines.append(
                {"what": f"{what}: {n:,}", "against": f"{SIZES[0]:,}", "n": counts[n], **ends, "ratio": ratio, **more}
            )
    return lines


def decoding_lines() -> list[dict]:
    """Decoding with vectors of more numbers, and with wider beams; the weights are random, so every text is as long."""
    encoder, settings, rng = load_encoder("minilm"), load_preset("cpu"), np.random.default_rng(0)
    models = {dim: build_model(select_row(settings, f"att_pool_{dim}"), encoder).eval() for dim in DIMS}

    def decoded(dim: int, beams: int):
        z = rng.standard_normal((VECTORS, dim)).astype(np.float32)
        return lambda: models[dim].generate_ids(z, num_beams=beams)

    first = DIMS[0]
    pairs = [(f"vectors of {dim} numbers, greedy", dim, 1, f"of {first} numbers", first) for dim in DIMS[1:]]
    pairs += [(f"vectors of {DIMS[1]} numbers, beam {beams}", DIMS[1], beams, "greedy", DIMS[1]) for beams in BEAMS[1:]]
    return [
        compare(what, decoded(dim, beams), against, decoded(other, 1), n=VECTORS, pairs=2)
        for what, dim, beams, against, other in pairs
    ]


def main() -> None:
    lines = growth_lines() + decoding_lines()
    write("growth", "How do time and memory grow with headlines, numbers and beams?", lines, headlines="synthetic")


if __name__ == "__main__":
    main()
