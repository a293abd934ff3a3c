"""How much error each comparison on one test split may make, so that all of them together make at most ALPHA.

Challenger after challenger is compared on the same test photos; at 5 % each, one of twenty equal ones would be promoted
sooner or later. The k-th comparison gets ALPHA * 5 / ((k + 4) (k + 5)): these shares add up to ALPHA for any number of
comparisons (a union bound, as in the spending of Foster and Stine 2008, J. R. Stat. Soc. B 70), the first ones get
the most, and after k of them 5 / (k + 5) is left. Rejected: a fixed ALPHA / n, which needs n in advance and is weakest
where most comparisons are, at the beginning; LORD (Javanmard and Montanari 2018), which controls the share of false
promotions, not that there is none.
"""

from __future__ import annotations

ALPHA = 0.05  # chance of any false promotion in the life of a test split
HEAD_START = 4  # how evenly the first comparisons share: the fifth still gets a third of what the first gets


def error_of(place: int) -> float:
    """Return the chance of a false promotion that the ``place``-th comparison (counted from 1) may have."""
    return ALPHA * (HEAD_START + 1) / ((place + HEAD_START) * (place + HEAD_START + 1))


def error_left(comparisons: int) -> float:
    """Return which share of ALPHA is left after so many comparisons."""
    return (HEAD_START + 1) / (comparisons + HEAD_START + 1)
