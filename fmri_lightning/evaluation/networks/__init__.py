"""Networks that pictures are compared through: the published ones behind an extra, and the demo's judge."""
