"""Execute notebooks in one process, each in a namespace of its own: `python bare_clone.py RESULTS NOTEBOOK ...`.

To be called in the folder of the notebooks. One process, because the imports take longer than most notebooks. The
file RESULTS gets a line of JSON for each: its name, its seconds, what it printed, the error that stopped it, or null.
"""

import io
import json
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

SKIP = "skip-execution"  # an exercise's solution


def execute(notebook: Path) -> dict:
    """Run the code cells as a kernel would, until one fails."""
    import matplotlib.pyplot as plt
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell, printed, begun, error = InteractiveShell.instance(), io.StringIO(), time.perf_counter(), None
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code" or SKIP in cell["metadata"].get("tags", []):
            continue
        source = "".join(cell["source"])
        with redirect_stdout(printed), redirect_stderr(printed):
            result = shell.run_cell(source)
        if failed := result.error_before_exec or result.error_in_exec:
            error = f"{type(failed).__name__}: {failed}\nin this cell:\n{source}"
            break
    plt.close("all")
    seconds = time.perf_counter() - begun
    return {"notebook": notebook.stem, "seconds": seconds, "printed": printed.getvalue(), "error": error}


if __name__ == "__main__":
    for name in sys.argv[2:]:
        shutil.rmtree("../runs/lab", ignore_errors=True)  # no notebook finds what another one left
        found = json.dumps(execute(Path(name)))
        with open(sys.argv[1], "a", encoding="utf-8") as results:
            results.write(found + "\n")
