"""Scratch of CUB's sorts and scans of 64-bit numbers, as the kernels of embeddings call them.

CUB asks for its parts in multiples of 256 bytes, and for 255 bytes to align them
(``AliasTemporaries`` in cub/util_type.cuh). Items of a block are those of its tuning for compute
capability 8.0 and newer; the sums are what torch 2.14.1 takes for 3,073 to 1,048,576 items.
"""

from __future__ import annotations

FEW_INDICES = 3072  # embeddings with no more are not sorted (EmbeddingBackwardKernel.cu)
_ONE_BLOCK = 2304  # items that one block of 256 threads sorts, 9 each
_SORTED, _UNIQUE, _SUMMED = 3840, 320, 896  # items a block
_STATE, _BEFORE = 16, 32  # bytes a block leaves for the next ones; blocks before the first
_DIGIT = 8  # bits of a key that a pass looks at


def sorted_pairs(count: int, bits: int) -> int:
    """Of ``count`` pairs by keys of ``bits`` bits (DeviceRadixSort::SortPairs, one sweep a pass).

    Counts of digits a pass, those of each block, one number a pass, and a second place for keys
    and values if there is more than one pass.
    """
    if count <= _ONE_BLOCK:
        return 1
    passes = -(-bits // _DIGIT)
    digits = 1 << _DIGIT
    found = passes * digits * 8 + -(-count // _SORTED) * digits * 4 + 256
    return found + (2 * _aligned(count * 8) if passes > 1 else 0) + 255


def unique_keys(count: int) -> int:
    """Of DeviceSelect::UniqueByKey."""
    return _scanned(count, _UNIQUE)


def running_sum(count: int) -> int:
    """Of DeviceScan::ExclusiveSum."""
    return _scanned(count, _SUMMED)


def _scanned(count: int, items: int) -> int:
    return _aligned((-(-count // items) + _BEFORE) * _STATE) + 256 + 255


def _aligned(size: int) -> int:
    return -(-size // 256) * 256
