"""The series of numbered notebooks: which there are, what each takes, and one of them executed with papermill."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from invlib import paths

SKIP = "skip-execution"  # the tag of a cell that a run leaves out: an exercise's solution
KERNEL = {  # variables of every kernel, where the user set none
    "CUDA_VISIBLE_DEVICES": "0",  # with several cards the Trainer would silently grow the batch
    "JUPYTER_PREFER_ENV_PATH": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # glibc keeps what a step frees for the next one, which else spends half
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),  # of its time on page faults
}


class NotebookFailed(RuntimeError):
    """A notebook stopped; the message holds its failing cell and error."""


def notebooks_of(folder: str | Path) -> list[Path]:
    """The numbered notebooks (NN_name.ipynb) of a folder, in order; FileNotFoundError where there are none."""
    found = sorted(path for path in Path(folder).glob("*.ipynb") if re.match(r"\d\d_", path.name))
    if not found:
        raise FileNotFoundError(f"no notebook NN_name.ipynb in {folder}; they are in a clone of the repository")
    return found


def pick(notebooks: list[Path], only: Iterable[str] = (), start: str | None = None) -> list[Path]:
    """The notebooks that `only` names, or those from `start` on: 03, 03_training or a path; ValueError for others."""

    def index(name: str) -> int:
        for i, path in enumerate(notebooks):
            if Path(name).name in (path.name, path.stem, path.name[:2]):
                return i
        raise ValueError(f"unknown notebook {name!r}; the series has {', '.join(path.stem for path in notebooks)}")

    if only:
        return [notebooks[i] for i in sorted({index(name) for name in only})]
    return notebooks[index(start) if start else 0 :]


def check_parameters(notebooks: Iterable[Path], names: Iterable[str]) -> None:
    """Raise ValueError for a name that stands in no parameters cell of these notebooks: papermill only warns.

    A notebook gets those of the names that its own cell has.
    """
    known = set().union(*map(parameters_of, notebooks))
    if lost := sorted(set(names) - known):
        raise ValueError(
            f"no notebook of these has the parameter {', '.join(lost)}; parameters are {', '.join(sorted(known))}"
        )


def parameters_of(notebook: Path) -> set[str]:
    """The names in a notebook's parameters cell."""
    import papermill

    return set(papermill.inspect_notebook(str(notebook)))


def given_to(notebook: Path, parameters: dict) -> dict:
    """Those of the parameters that stand in the notebook's parameters cell."""
    return {name: parameters[name] for name in sorted(parameters_of(notebook) & set(parameters))}


def stamp(path: Path, parameters: dict) -> dict:
    """What an executed copy is compared with on `--resume`: hashes of its code and its preset, and its parameters."""
    from invlib.settings import read_presets

    code = ["".join(cell["source"]) for cell in paths.read_json(path)["cells"] if cell["cell_type"] == "code"]
    presets = read_presets()
    values = [presets.get("common"), presets.get(parameters.get("preset"))]
    source, values = (hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for part in (code, values))
    return {"source": source, "values": values, "parameters": given_to(path, parameters)}


def is_complete(executed: Path, wanted: dict | None = None) -> bool:
    """Whether an executed copy ran to its end without an error, and (where given) under the wanted `stamp`."""
    if not executed.is_file():
        return False
    try:
        notebook = paths.read_json(executed)
    except ValueError:  # cut off while it was written
        return False
    code = [c for c in notebook["cells"] if c["cell_type"] == "code" and SKIP not in c["metadata"].get("tags", [])]
    ran = all(c["execution_count"] is not None for c in code if "".join(c["source"]).strip())
    failed = any(o["output_type"] == "error" for c in code for o in c["outputs"])
    made = notebook["metadata"].get("invlib")  # written after the last cell
    if made is None or failed or not ran:
        return False
    return wanted is None or made == {key: wanted.get(key) for key in made}  # older copies say less


def execute(notebook: Path, folder: Path, parameters: dict) -> Path:
    """Execute one notebook in its own folder, INVLIB_RUN naming `folder`; returns the executed copy, HTML beside it.

    parameters: values for the names in its parameters cell; others are left out.
    Raises NotebookFailed with the failing cell's source and error; what was executed until then is kept.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from nbconvert import HTMLExporter
    from papermill.exceptions import PapermillExecutionError

    executed = folder / "notebooks" / notebook.name
    executed.parent.mkdir(parents=True, exist_ok=True)
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":  # what was published stays out of a copy that may stop half-way
            cell.outputs, cell.execution_count = [], None
    nbformat.write(content, executed)
    try:
        with environment(INVLIB_RUN=str(folder), INVLIB_PRESET=parameters.get("preset")):
            papermill.execute_notebook(
                str(executed),
                str(executed),
                given_to(notebook, parameters),
                cwd=str(notebook.parent),
                progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=50"],  # what fails is told by the runner
            )
    except PapermillExecutionError as error:
        raise NotebookFailed(f"{head(error.source)}\n\n{error.ename}: {error.evalue}") from error
    except DeadKernelError as error:
        cells = [c for c in nbformat.read(executed, as_version=4).cells if c.cell_type == "code"]
        begun = [c.source for c in cells if c.metadata.get("papermill", {}).get("status", "pending") != "pending"]
        source = head(begun[-1] if begun else "")
        raise NotebookFailed(f"{source}\n\nthe kernel died here; most often the memory was full") from error
    content = nbformat.read(executed, as_version=4)
    content.metadata["invlib"] = stamp(notebook, parameters)
    paths.write_text(executed, nbformat.writes(content))
    paths.write_text(executed.with_suffix(".html"), HTMLExporter().from_notebook_node(content)[0])
    return executed


def head(source: str, lines: int = 12) -> str:
    """The first lines of a cell, indented."""
    all_lines = source.strip().splitlines()
    shown = all_lines[:lines] + (["..."] if len(all_lines) > lines else [])
    return "\n".join(f"    {line}" for line in shown)


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Set variables that a kernel inherits, and those of KERNEL, and put the old values back; None leaves one alone."""
    wanted = {key: value for key, value in variables.items() if value is not None}
    wanted |= {key: value for key, value in KERNEL.items() if key not in os.environ}
    if os.environ.get("INVLIB_DATA"):  # a relative folder is meant from here, not from the notebooks' folder
        wanted["INVLIB_DATA"] = os.path.abspath(os.path.expanduser(os.environ["INVLIB_DATA"]))
    before = {key: os.environ[key] for key in wanted if key in os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key in wanted:
            os.environ.pop(key, None)
        os.environ.update(before)
