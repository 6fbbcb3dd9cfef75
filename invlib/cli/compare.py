"""`invlib compare`: the figures that two runs share, with both intervals."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name under runs/, or a folder: runs/last")
    parser.add_argument("other", help="the run to compare it with: results/study")


def run(args: argparse.Namespace) -> None:
    from invlib.series.compare import report

    print(report(args.run, args.other))
