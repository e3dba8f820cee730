"""Deformable registration of medical volumes: a start field, refined at test time.

Nothing is imported here: ``geometry``, ``job`` and ``registry`` must load without torch.
"""

__version__ = "0.1.0"
