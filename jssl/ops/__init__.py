"""Array operations shared by losses and methods."""
