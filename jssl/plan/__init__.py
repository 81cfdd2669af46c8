"""The planning command, `python -m jssl.plan`, and the measures of a compiled step."""
