"""jssl: self-supervised learning in JAX.

python -m jssl.main --config=experiments/mae.py
from jssl import losses
"""

from jssl.config import Stage
from jssl.learner import Learner
from jssl.method import Method
from jssl.nets import Net

__all__ = ["Learner", "Method", "Net", "Stage"]
__version__ = "0.1.0"
