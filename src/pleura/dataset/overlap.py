"""Images in several subsets of a split: equal names, duplicates and near duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import nlargest
from itertools import combinations

import numpy as np

from pleura.dataset.duplicates import find_near_duplicates, is_duplicate
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import SUBSETS, Split, require_nonempty
from pleura.errors import DataError
from pleura.formats.matching import normalize_name
from pleura.names import counted, shorten_list


def resolve_duplicates(
    pairs: Sequence[Pair], prepared: PreprocessedPairs, split: Split, recipe: SplitRecipe
) -> Split:
    """Return a split without images in two subsets, by name or by pixels.

    Copies may be mirrored, rotated by 90 degrees, or stored in another format.

    Parameters
    ----------
    pairs, prepared:
        The pairs of the data set, and the same pairs preprocessed.
    split:
        The split to check.
    recipe:
        With ``duplicates: exclude``, copies in training of images in validation or test, and copies
        in validation of images in test, are excluded.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        An image is in two subsets.
    """
    counts = Counter(
        normalize_name(name) for name in (*split.training, *split.validation, *split.test)
    )
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"{counted(len(twice), 'image is', 'images are')} in two subsets of the split: "
            f"{shorten_list(twice)}",
            where="split",
            hint="list each image in one subset",
        )
    duplicates = list(_find_duplicates(pairs, prepared, split))
    if duplicates and recipe.duplicates == "error":
        subset = split.subset_by_name()
        shown = shorten_list([f"{a} ({subset[a]}) and {b} ({subset[b]})" for a, b in duplicates])
        raise DataError(
            f"{counted(len(duplicates), 'pair')} of images in two subsets with the same pixels: "
            f"{shown}",
            where="split",
            hint="exclude one image of each pair (--exclude), or all copies outside the test "
            "subset: --set "
            "split.duplicates=exclude",
        )
    removed = {first for first, _ in duplicates}
    return require_nonempty(split.without(removed), f"{len(removed)} copies excluded")


def near_duplicate_warning(prepared: PreprocessedPairs, split: Split) -> str | None:
    """Return a warning about near duplicates in different subsets, or None."""
    subset = split.subset_by_name()
    names = prepared.names
    order = np.array([SUBSETS.index(subset[name]) if name in subset else -1 for name in names])
    count, similar = 0, list[tuple[float, str, str]]()
    for first, second, correlation in find_near_duplicates(prepared.thumbnails):
        used = np.minimum(order[first], order[second]) >= 0
        found = np.flatnonzero(used & (order[first] != order[second]))
        count += len(found)
        for k in found[np.argsort(correlation[found])[-3:]]:
            one, other = sorted((first[k], second[k]), key=lambda row: int(order[row]))
            similar.append((float(correlation[k]), names[one], names[other]))
        similar = nlargest(3, similar)
    if not similar:
        return None
    shown = ", ".join(f"{a} ({subset[a]}) and {b} ({subset[b]})" for _, a, b in similar)
    return (
        f"{counted(count, 'pair')} of near duplicates in different subsets, such as slices "
        "of "
        f"one patient: {shown}. Scores on them are biased. hint: keep all images of a "
        "patient in one subset (split.method=grouped)"
    )


def _find_duplicates(
    pairs: Sequence[Pair], prepared: PreprocessedPairs, split: Split
) -> Iterator[tuple[str, str]]:
    """Yield the names of each two duplicates in different subsets, in the order of subsets."""
    subset, by_name = split.subset_by_name(), {pair.name: pair for pair in pairs}
    groups: dict[bytes, list[str]] = {}
    readers = PairReader(), PairReader()  # each keeps a volume
    for name, pixels in zip(prepared.names, prepared.hashes, strict=True):
        if pixels and name in subset:
            groups.setdefault(pixels, []).append(name)
    for names in groups.values():
        names.sort(key=lambda name: SUBSETS.index(subset[name]))
        for a, b in combinations(names, 2):
            if subset[a] != subset[b]:
                chosen = (replace(by_name[name], no_lung=True) for name in (a, b))
                images = [
                    reader.read(pair)[0] for reader, pair in zip(readers, chosen, strict=True)
                ]
                if is_duplicate(*images):
                    yield a, b
