"""A program of ours that makes or takes traffic: set up first, told when to begin and to end, heard at the end.

The other half of the talk is perf/src/orders.rs.
"""

import json
import select
import subprocess
import time

from lab.host import LabError, cpu_seconds
from lab.programs import target


class Helper:
    """A generator or a sink in a namespace. Raises LabError with its last words where it does not do its part."""

    def __init__(self, host, program, *words, profile="release", patience=40):
        self.name, self._spent = program, None
        self._process = subprocess.Popen(host.enter(target(program, profile), *words), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._expect("ready", patience)

    def _expect(self, word, patience):
        line = self._line(patience)
        if line != word:
            raise LabError(f"{self.name} said {line!r} where {word!r} was due")

    def _line(self, patience):
        end = time.monotonic() + patience
        while not select.select([self._process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            if time.monotonic() >= end:
                self.kill()
                raise LabError(f"{self.name} said nothing for {patience} s")
        line = self._process.stdout.readline().strip()
        if not line:
            self._process.wait(5)
            said = self._process.stderr.read().strip().split("\n")[-1]
            raise LabError(said or f"{self.name} ended with {self._process.returncode}")
        return line

    def begin(self):
        """Lets it begin."""
        self._tell("begin\n")

    def _tell(self, text):
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def end(self):
        """Lets what has no end of its own end."""
        self._tell("end\n")

    def report(self, patience=30):
        """Waits for its end and returns its figures."""
        try:
            return json.loads(self._line(patience))
        except ValueError as error:
            raise LabError(f"{self.name}: {error}") from None
        finally:
            self._spent = self.cpu_seconds()
            self.kill()

    def cpu_seconds(self):
        """(user, system) seconds so far, or in all."""
        if self._spent is None:
            return cpu_seconds(self._process.pid)
        return self._spent

    def kill(self):
        """Ends it whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
