"""Networks: Flax Linen modules. Methods receive them as `Net`s and never import them."""
