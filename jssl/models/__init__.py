"""Networks: Flax Linen modules, which methods receive as `Net`s and never import."""
