"""``doctor``: an installation, the files of a subject, or everything behind a finished run, checked."""
