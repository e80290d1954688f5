"""Commands over many subjects and many amounts of data."""
