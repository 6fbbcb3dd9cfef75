"""All benchmarks that need no GPU, one after another, each in a process of its own, and the table of results/bench."""

import subprocess
import sys

from invlib import paths

CPU = ("first_text", "encode", "decode", "teacher_forced", "epoch", "cramming", "growth")

if __name__ == "__main__":
    for name in (*CPU, "table"):
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=paths.ROOT)
