"""The planning command, `python -m jssl.plan`: compiled steps for slices that are not there."""
