"""Random numbers as a pure function of a key, the same in any order and any process.

The generator is SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators")
applied to key and counter, evaluated for whole batches in numpy. All sums wrap at 64 bits on purpose.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: neighbouring counters land far apart
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def splitmix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: a bijection of 64-bit numbers in which each input bit moves each output bit."""
    x = x ^ (x >> np.uint64(30))
    x *= _FIRST
    x ^= x >> np.uint64(27)
    x *= _SECOND
    x ^= x >> np.uint64(31)
    return x


def derive_seed(*words: str | int) -> np.uint64:
    """A 64-bit number for a list of words, the same on every machine."""
    text = "\x1f".join(str(word) for word in words)
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def row_keys(base: np.uint64, k: np.ndarray) -> np.ndarray:
    """The keys of rows number `k` of the seed `base`, `(rows,)`."""
    return splitmix64(np.atleast_1d(k).astype(np.uint64) * _GOLDEN + base)


def random_bits(keys: np.ndarray, purpose: int, counters: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
    """64 random bits for each key and counter (broadcast together); another `purpose` gives independent ones.

    A corruption of one's own takes purposes from 16 on; `sample_positions` and the shipped ones have those below.

    Given `which`, the number of a key for each counter, they are those of `keys[which]`, in less time.
    """
    offset = np.uint64((purpose * int(_GOLDEN)) & 0xFFFFFFFFFFFFFFFF)
    start = splitmix64(keys + offset)
    start = start if which is None else start[which]
    return splitmix64(start + (counters.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def uniform(bits: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) from 64 random bits, on the grid of 2^-24 that single precision holds exactly."""
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def randint(bits: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """Whole numbers in [0, limit) from 64 random bits, for limits up to 2^32; the bias is under limit / 2^32."""
    return ((bits >> np.uint64(32)) * np.asarray(limit, dtype=np.uint64) >> np.uint64(32)).astype(np.int64)


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
