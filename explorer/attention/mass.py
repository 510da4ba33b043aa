"""The patches that hold a share of a map's weight."""

from numbers import Real

import numpy as np
from jaxtyping import Bool, Float

from explorer.errors import QueryError


def mass_mask(weights: Float[np.ndarray, "row col"], mass: float) -> Bool[np.ndarray, "row col"]:
    """The smallest set of entries holding at least `mass` of the sum of weights.

    DINO's visualisation keeps the same set (its --threshold): entries sorted, cumulated, the smallest ones left out.
    """
    check_mass(mass)
    flat = weights.ravel().astype(np.float64)
    order = np.argsort(-flat, kind="stable")
    cumulated = flat[order].cumsum()
    # Keep an entry when those before it don't hold the mass yet: the first is always kept, unless all weigh nothing.
    before = np.concatenate([[0.0], cumulated[:-1]])
    keep = np.zeros(flat.shape, dtype=bool)
    keep[order] = before < mass * cumulated[-1]
    return keep.reshape(weights.shape)


def check_mass(mass: float) -> None:
    """Raise QueryError for a share outside 0, which is no share, to 1."""
    if not isinstance(mass, Real) or not 0 < mass <= 1:
        raise QueryError(f"The mass must lie above 0 and up to 1, not {mass}.")
