"""Scores with what belongs beside them: protocol, chance, null, ceiling and interval."""
