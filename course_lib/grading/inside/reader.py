"""Reads one notebook, which may be anything at all, and prints the sources of its code cells as JSON.

Runs in a process of its own with little memory and time, so that a file made to exhaust its reader exhausts
nothing else. Usage: reader.py SECONDS BYTES < notebook
"""

import json
import resource
import sys

MAX_CELLS = 5_000
MAX_SOURCE = 2**19  # characters of code in all: a syntax tree takes a thousand bytes for each


def main() -> None:
    """Prints {"sources": […]} or {"problem": "…"}."""
    seconds, nbytes = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))
    try:
        result = {"sources": sources(sys.stdin.buffer.read())}
    except MemoryError:
        result = {"problem": "the file is too large to read"}
    except RecursionError:
        result = {"problem": "the file is nested too deeply"}
    except json.JSONDecodeError:
        result = {"problem": "it is no notebook: what it holds is no JSON, or was cut off"}
    except Exception as error:  # noqa: BLE001 - whatever a file can make json or nbformat raise
        result = {"problem": f"it is no notebook that can be read: {error or type(error).__name__}"[:120]}
    json.dump(result, sys.stdout)


def sources(data: bytes) -> list[str]:
    """The code of every cell, in order. Bytes that are no UTF-8 become a sign that says so."""
    if not data.strip():
        raise ValueError("the file is empty")
    codec = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    notebook = json.loads(data.decode(codec, errors="replace"))
    if not isinstance(notebook, dict) or not notebook.keys() & {"cells", "worksheets"}:
        raise ValueError("it has no cells")
    if notebook.get("nbformat", 4) < 4:
        notebook = modern(notebook)
    cells = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    found = [text(cell.get("source", "")) for cell in cells]
    if len(found) > MAX_CELLS or sum(map(len, found)) > MAX_SOURCE:
        raise ValueError("too much code")
    return found


def modern(notebook: dict) -> dict:
    """A notebook of format 3 or older, converted without its outputs."""
    import nbformat

    for sheet in notebook.get("worksheets", []):
        for cell in sheet.get("cells", []):
            cell["outputs"] = []
    version = (notebook["nbformat"], notebook.get("nbformat_minor", 0))
    return nbformat.convert(nbformat.versions[version[0]].to_notebook_json(notebook, minor=version[1]), 4)


def text(source: object) -> str:
    """A cell's source, which may be stored as one string or as lines."""
    return "".join(source) if isinstance(source, list) else str(source)


if __name__ == "__main__":
    main()
