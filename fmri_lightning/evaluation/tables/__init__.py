"""One table of several evaluated runs: subjects, their mean, the rows beside a score, paired tests, literature."""

from fmri_lightning.evaluation.tables.writing import write_tables

__all__ = ["write_tables"]
