"""Whole files from the command line, in chunks: a million lines need no more memory than a thousand.

    invlib encode headlines.txt --model att_pool_768 --output vectors.npy
    invlib decode vectors.npy --num-beams 5 --output texts.txt
    invlib invert embeddings.npy --output texts.csv
    invlib compare runs/last results/study

`encode` writes vectors.npy, (N, D) float16, one row a text, and vectors.json, which says what made them; `decode` reads
both, or vectors alone where `--model` names their model. `invert` reads the sentence embeddings that anybody has made
with a plain encoder, as SentenceTransformer.encode gives them. These three check all of their input before they work on
the first of it, and an output takes its name when it is whole. `compare` prints the figures that two runs share, with
their intervals.
"""

import argparse
import os
import signal
import sys

from invlib.cli import compare, decode, encode, invert

COMMANDS = {  # name: (module with `add_arguments` and `run`, help)
    "encode": (encode, "sentences, one a line or a row, to vectors"),
    "decode": (decode, "vectors to texts, one a line"),
    "invert": (invert, "sentence embeddings, as an encoder makes them, to texts"),
    "compare": (compare, "two runs: each figure that both have, with both intervals"),
}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="invlib", description="Sentences to vectors, and vectors back to sentences.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, words) in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=words))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stop runs the clean-up too
    try:
        COMMANDS[args.command][0].run(args)
    except BrokenPipeError:  # whoever read the texts has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.stderr.write("invlib: stopped; nothing was left half-written\n")
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"invlib: {error}\n")
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)
