"""The evaluation command, `python -m jssl.evaluate`, and the protocols that it applies."""
