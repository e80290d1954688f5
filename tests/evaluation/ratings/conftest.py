"""A page of the small world, its key, and raters who are right as often as one likes."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fmri_lightning.cli import main


@dataclass(frozen=True)
class Written:
    """A page and its key on disk."""

    page: Path
    key: Path

    @property
    def html(self):
        return self.page.read_text()

    @property
    def data(self):
        """What the page's script reads."""
        return json.loads(self.html.split('id="data">')[1].split("</script>")[0])

    @property
    def answers(self):
        return json.loads(self.key.read_text())

    def rate(self, file, letters, right=1.0, checks=1.0, rater="", n=None, **changes):
        """Write a result file of a rater.

        Args:
            file: Where.
            letters: Eight, of which its id is made; they decide order and luck.
            right: How probably trials are right.
            checks: How probably checks are.
            rater: Code.
            n: Answers given; all by default.
            changes: Fields to set.
        """
        key = self.answers
        generator = np.random.default_rng([ord(letter) for letter in letters])
        answers = []
        for position, trial in enumerate(generator.permutation(len(key["trials"]))[:n].tolist()):
            one = key["trials"][trial]
            fine = generator.random() < (checks if one["check"] else right)
            answers.append(
                {
                    "trial": trial,
                    "chosen": one["answer"] if fine else 1 - one["answer"],
                    "side": "left" if generator.random() < 0.5 else "right",
                    "position": position,
                    "time_ms": 500 + position,
                    "revised": False,
                }
            )
        results = {
            "format": "fmri-lightning ratings 1",
            "page": key["page"],
            "session": letters * 4,
            "seed": 1,
            "rater": rater,
            "n_trials": len(key["trials"]),
            "finished": n is None,
            "answers": answers,
        } | changes
        file.write_text(json.dumps(results))
        return file


def write(*words):
    """Run ``ratings`` and demand success."""
    assert main(["ratings", *map(str, words)]) == 0


@pytest.fixture(scope="session")
def written(world, tmp_path_factory):
    """A page of 12 of 16 stimuli with 2 checks."""
    folder = tmp_path_factory.mktemp("ratings")
    run = world.write_run(folder / "ridge_diffusion")
    page = folder / "page.html"
    write("--run", run, "--out", page, "--n_trials", 12, "--n_checks", 2)
    return Written(page, folder / "page_key.json")
