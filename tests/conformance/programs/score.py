"""What was expected and what came, as lines a person can read; the last one is the score."""

import sys


class Score:
    """A line for each case: as the rules demand, or harmless otherwise, or a failure."""

    def __init__(self):
        self.lines = []
        self.right = self.wrong = 0

    def add(self, name, outcome, expected, harmless=()):
        wanted = f", expected {' or '.join(sorted(map(str, expected)))}"
        if outcome in expected:
            self.right += 1
            self.lines.append(f"ok    {name}: {outcome}")
        elif outcome in harmless:
            self.lines.append(f"near  {name}: {outcome}{wanted}")
        else:
            self.wrong += 1
            self.lines.append(f"FAIL  {name}: {outcome}{wanted}")

    def finish(self):
        near = len(self.lines) - self.right - self.wrong
        print(*self.lines, sep="\n")
        print(f"score: {self.right} of {len(self.lines)}, {near} harmless otherwise, {self.wrong} wrong", flush=True)
        sys.exit(1 if self.wrong else 0)
