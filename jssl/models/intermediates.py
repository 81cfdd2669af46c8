"""What a network says of itself beside its output: maps of its layers, attention."""


def tapped(module, kind) -> bool:
    """Whether somebody asks for `kind`, "layers" or "attention": nobody does in training,
    nor at initialisation, whose variables are to be weights and statistics only."""
    return module.is_mutable_collection(kind) and not module.is_initializing()


def tap(module, kind, value) -> None:
    """Sows a value, if somebody asks."""
    if tapped(module, kind):
        module.sow(kind, "tap", value)
