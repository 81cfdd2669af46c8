"""Intermediate values that a network exposes: feature maps of its layers, attention."""


def tapped(module, kind) -> bool:
    """True if `kind`, "layers" or "attention", is collected in this call.

    False in training, and at initialization, whose variables must be weights and
    statistics only.
    """
    return module.is_mutable_collection(kind) and not module.is_initializing()


def tap(module, kind, value) -> None:
    """Sows an intermediate value if its kind is collected."""
    if tapped(module, kind):
        module.sow(kind, "tap", value)
