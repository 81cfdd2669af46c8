"""jssl beside the libraries that its users would otherwise take, pair by pair.

    make bench
    PYTHONPATH=benchmarks python -m peers run --rounds 3 [--only rbm-cd simclr-small]

The second wants an environment with the extra `bench` of setup.cfg.
"""
