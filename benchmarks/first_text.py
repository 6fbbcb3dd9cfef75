"""How long is it until the first text comes back? The README's five lines, and `invlib encode` and `decode`.

Each is a process of its own, imports included. The alternative is the least that must happen before any of it: a
process that imports the two models of transformers of which encoder and decoder are made.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import compare, write
from invlib import paths

MODEL = paths.ROOT / "data" / "models" / "hybrid_384_long"
TEXT = "wall street falls as tariffs kick in"
FIVE = f"""
from invlib import InvertibleSentenceModel
model = InvertibleSentenceModel.from_pretrained({str(MODEL)!r})
assert model.decode(model.encode([{TEXT!r}])) == [{TEXT!r}]
"""
FLOOR = "from transformers import BertModel, GPT2LMHeadModel"
AGAINST = "a process that imports transformers' BertModel and GPT2LMHeadModel"


def process(*arguments: str):
    return lambda: subprocess.run([sys.executable, *arguments], check=True, cwd=paths.ROOT, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts, vectors = Path(folder, "texts.txt"), str(Path(folder, "vectors.npy"))
        texts.write_text(TEXT + "\n")
        encode = ("-m", "invlib.cli", "encode", str(texts), "--model", str(MODEL), "--output", vectors)
        ways = {
            "README's five lines": ("-c", FIVE), "invlib encode": encode,
            "invlib decode": ("-m", "invlib.cli", "decode", vectors),
        }  # fmt: skip
        floor = process("-c", FLOOR)
        lines = [compare(what, process(*call), AGAINST, floor) for what, call in ways.items()]
    write("first_text", "How long is it until the first text comes back?", lines)


if __name__ == "__main__":
    main()
