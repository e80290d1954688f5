"""``python -m fmri_lightning`` is ``fmri-lightning``."""

from fmri_lightning.cli import console_script

if __name__ == "__main__":
    console_script()
