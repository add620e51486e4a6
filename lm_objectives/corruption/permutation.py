"""A permutation as a function: the i-th of n in an order fixed by a key, without storing the order."""

import numpy as np

from lm_objectives.corruption.keyed import random_bits

_ROUNDS = 6
_FEW = 1024  # sorting that many numbers takes less time than the rounds


def permute(index: np.ndarray, size: int, key: np.uint64) -> np.ndarray:
    """Where a keyed permutation of `range(size)` sends each `index`, `(n,)` to `(n,)`.

    Up to 1,024 items are sorted by random numbers, so that every order is as likely. Of more, a Feistel network
    permutes the smallest square power of two that holds `size`; what lands outside is sent through again until it is
    inside (cycle walking: Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). With halves of one or two
    bits its few round functions would prefer some orders.

        permute([0, 1, 2, 3, 4], 5, key)  ->  [3, 0, 4, 1, 2], say
    """
    if size <= _FEW:
        return np.argsort(random_bits(np.array([key]), 0, np.arange(size)))[index]
    half = np.uint64((size - 1).bit_length() + 1) // np.uint64(2)
    low = (np.uint64(1) << half) - np.uint64(1)
    result = index.astype(np.uint64)
    outside = np.ones(result.shape, dtype=bool)
    while outside.any():
        left, right = result[outside] >> half, result[outside] & low
        for round_ in range(_ROUNDS):
            left, right = right, left ^ (random_bits(np.full_like(right, key), round_, right) & low)
        result[outside] = left << half | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
