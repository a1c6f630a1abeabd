"""Records: a line of JSON for the run, one for each slot, one for each tunnel that failed."""

import json
import pathlib
import time

FORMAT = 2
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "records"


class Record:
    """Writes lines as they come, so that a run that is ended half-way has left what it knew."""

    def __init__(self, path):
        self._file = path.open("w") if path else None
        self.path = path

    def add(self, line):
        """Writes one line."""
        if self._file:
            self._file.write(json.dumps(line, sort_keys=True) + "\n")
            self._file.flush()

    def close(self):
        """Ends the file."""
        if self._file:
            self._file.close()


def default_path(commit):
    """A new name in perf/records."""
    FOLDER.mkdir(exist_ok=True)
    return FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{commit or 'no-commit'}.jsonl"


def read(path):
    """The run line and the slots of a record. Raises ValueError for a line that is none, and names it."""
    run, slots = None, []
    for number, text in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
        try:
            line = json.loads(text)
            kind = line["kind"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}:{number}: not a line of a record") from None
        if kind == "run":
            if line.get("format") != FORMAT:
                raise ValueError(f"{path}:{number}: format {line.get('format')}, wanted {FORMAT}")
            run = line
        elif kind == "slot":
            slots.append(line)
    if run is None:
        raise ValueError(f"{path}: no line says what was run")
    return run, slots
