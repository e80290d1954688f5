"""Which trial showed which picture, and which picture is train, val or test."""
