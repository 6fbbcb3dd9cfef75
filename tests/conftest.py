"""What the tests share: a tiny frozen encoder, the embedded one, sixty made-up sentences and a temporary run."""

import gc
import mmap
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from invlib import paths
from invlib.encoders import frozen
from invlib.encoders import token_states as token_states_module
from invlib.encoders.frozen import load_encoder
from invlib.encoders.token_states import token_states
from invlib.settings import Settings

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PARTS = (
    ["oil", "gold", "the dollar", "wall street", "a small bank", "the old central bank", "copper", "uber"],
    ["rises", "falls", "slips again", "gains ground", "holds steady"],
    ["on tariffs", "after weak data", "as china reopens", "before the vote", "on strong demand for steel", ""],
)


def made_sentences(n: int = 64) -> list[str]:
    """`n` different short sentences, of three to twelve words."""
    every = [" ".join(w for w in (a, b, c) if w) for a in PARTS[0] for b in PARTS[1] for c in PARTS[2]]
    return random.Random(0).sample(every, n)


@pytest.fixture(scope="session", autouse=True)
def imports_frozen() -> None:
    """What the imports made is left out of garbage collection: every training ends in one, and would walk all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return made_sentences()


@pytest.fixture(scope="session")
def minilm():
    """The embedded encoder with its real weights."""
    return load_encoder("minilm")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, sentences) -> str:
    """A BERT of two narrow layers with random weights and the sentences' own words, saved as any local encoder is."""
    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({word for sentence in sentences for word in sentence.split()})
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words, *"abcdefghij", "##a", "##b", "##c"]) + "\n")
    torch.manual_seed(0)
    vocab_size = len((folder / "vocab.txt").read_text().split())
    config = BertConfig(
        vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    model = BertModel(config)
    model.embeddings.word_embeddings.weight.data.normal_(0, 0.5)  # wider than BERT's start: words differ
    model.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_folder):
    return load_encoder(tiny_folder)


@pytest.fixture
def float32(monkeypatch):
    """The encoder in float32: what must be equal is compared sharply, not within bfloat16's three digits."""
    for module in (frozen, token_states_module):
        monkeypatch.setattr(module, "precision", lambda where: torch.float32)


@pytest.fixture(scope="session")
def tiny_settings(tiny_folder) -> Settings:
    """One small att_pool; a test changes what it is about with `dataclasses.replace`."""
    return Settings(
        preset="smoke", encoder=tiny_folder, row="att_pool", embedding_dim=32, max_length=16, slots=4, n_embd=32,
        n_layer=2, n_head=2, n_inner=64, n_positions=32, dropout=0.0, epochs=2, batch_size=8, learning_rate=3e-3,
        sampled_negatives=20, sent_sim_every=2, sent_sim_size=4, bertscore_every_epoch=0, n_bootstrap=20, n_generate=12,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_material(tiny_encoder, sentences, tmp_path_factory):
    """Forty training, eight validation and sixteen test sentences, as `load_material` would give them."""
    from invlib.encoders.material import Material

    texts = {"train": sentences[:40], "validation": sentences[40:48], "test": sentences[48:64]}
    cache = tmp_path_factory.mktemp("cache")
    states = {k: token_states(tiny_encoder, v, max_length=16, cache=cache, progress=False) for k, v in texts.items()}
    corpus = SimpleNamespace(
        splits={k: {"text": v} for k, v in texts.items()}, data_hash="0123456789ab", source="synthetic", synthetic=True
    )
    return Material(corpus, tiny_encoder, states)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A temporary run's folder; nothing of this machine's runs or environment is seen."""
    for name in ("INVLIB_RUN", "INVLIB_PRESET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    folder = tmp_path / "runs" / "test"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def tiny_model(tiny_settings, tiny_encoder):
    """build(row, **changes) -> a fresh untrained model of that row, its weights seeded."""
    from invlib.models.model import build_model

    def build(row: str = "att_pool", **changes):
        torch.manual_seed(1)
        if row == "cls_decoder":
            changes = {"embedding_dim": tiny_encoder.hidden_size, **changes}
        if row in ("multi_query", "hybrid"):
            numbers_per_piece = 32 if row == "hybrid" else 0
            own = {
                "encoder_layers": ("word", "last"),
                "queries": 8,
                "numbers_per_piece": numbers_per_piece,
                "embedding_dim": 64,
            }
            changes = own | changes
        return build_model(replace(tiny_settings, row=row, **changes), tiny_encoder).eval()

    return build


@pytest.fixture(scope="session")
def tiny_lm_folder(tmp_path_factory, tiny_folder, sentences) -> str:
    """A GPT-NeoX of two narrow layers, saved as any local causal LM is.

    Trained for a moment on the sentences, half of the time with their words shuffled: a model that has seen nothing
    but so few sentences is so sure of them that no vector moves it.
    """
    from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

    folder, words = tmp_path_factory.mktemp("lm"), AutoTokenizer.from_pretrained(tiny_folder)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(words), hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256,
        max_position_embeddings=64, bos_token_id=words.cls_token_id, eos_token_id=words.sep_token_id,
    )  # fmt: skip
    model, rng = GPTNeoXForCausalLM(config), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    shuffled = [" ".join(rng.sample(s.split(), len(s.split()))) for s in sentences]
    for _ in range(100):
        batch = words(sentences if rng.random() < 0.5 else shuffled, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        optimizer.zero_grad()
        model(input_ids=batch["input_ids"], labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_lm(tiny_lm_folder):
    from invlib.language_models.frozen import load_causal_lm

    return load_causal_lm(tiny_lm_folder)


@pytest.fixture(scope="session")
def sharp_lm(tiny_lm_folder):
    """The same in float64: what must be equal is compared sharply."""
    from invlib.language_models.frozen import load_causal_lm

    return load_causal_lm(tiny_lm_folder, torch.float64)


@pytest.fixture
def killed_after(monkeypatch):
    """killed_after(step, module): the next training of the module is killed when it has done so many steps.

    None: it is not. module: invlib.training.train where none is given. No code catches the KeyboardInterrupt.
    """
    from invlib.training import train
    from invlib.training.callbacks import Clock

    def arrange(step: int | None, module=train):
        class Mortal(Clock):
            def on_step_end(self, args, state, control, **more):
                if step is not None and state.global_step >= step:
                    raise KeyboardInterrupt
                return super().on_step_end(args, state, control, **more)

        monkeypatch.setattr(module, "Clock", Mortal)

    return arrange


WRITES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")  # audit events


@pytest.fixture
def in_child(capfd):
    """in_child(work, kill_at=None) -> (exit status, writes): work() in a fork of this process, on one thread.

    kill_at: it is killed (SIGKILL, status -9) before its so-manieth write; Python tells an audit hook of each file that
    is opened for writing, renamed or removed, before it is. An error of work() is this test's.
    """
    if torch.cuda.is_available():
        pytest.skip("a process that uses a CUDA card can't be forked")
    writes = mmap.mmap(-1, 8)  # shared with the child

    def run(work: Callable, kill_at: int | None = None) -> tuple[int, int]:
        def count(event: str, args: tuple) -> None:
            if event == "open":
                path, _, flags = args
                if not isinstance(path, str) or "__pycache__" in path or not flags & (os.O_WRONLY | os.O_RDWR):
                    return
            elif event not in WRITES or "__pycache__" in str(args[0]):
                return
            n = int.from_bytes(writes[:8], "big") + 1
            writes[:8] = n.to_bytes(8, "big")
            if n == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        writes[:8] = bytes(8)
        child = os.fork()
        if not child:
            status = 1
            try:
                torch.set_num_threads(1)
                sys.addaudithook(count)
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status != 1, capfd.readouterr().err
        return status, int.from_bytes(writes[:8], "big")

    return run


@pytest.fixture
def kills(in_child):
    """kills(work, most) -> at which writes to kill it: at every one, or at `most` of them, the last ones close by."""

    def places(work: Callable, most: int) -> list[int]:
        status, n = in_child(work)
        assert status == 0 and n > 1
        last = range(max(1, n - most // 3 + 1), n + 1)
        return sorted({*last, *(1 + k * n // most for k in range(most))} if n > most else range(1, n + 1))

    return places
