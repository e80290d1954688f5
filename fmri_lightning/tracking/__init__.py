"""What a run tells a dashboard: one W&B run a command, keys that stay, pictures, tables and where files came from."""
