"""A pandas column whose values are read when they are looked at: what a frame of samples has for `text`."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take
from pandas.api.indexers import check_array_indexer

AT_ONCE = 256  # values that are in memory together where one goes through a column


class LazyDtype(ExtensionDtype):
    """Text that is not in memory. Together with text that is, it becomes that."""

    name, type, kind, na_value = "str", str, "O", None  # a file of such a column is one of texts

    @classmethod
    def construct_array_type(cls) -> type:
        return Lazy

    def _get_common_dtype(self, dtypes: list) -> object:
        if all(isinstance(dtype, LazyDtype) for dtype in dtypes):
            return self
        texts = all(isinstance(dtype, (LazyDtype, pd.StringDtype)) for dtype in dtypes)
        return pd.StringDtype(na_value=np.nan) if texts else None


class Lazy(ExtensionArray):
    """Texts by their keys; `source.texts(keys)` gives (position, text) of each key, in whatever order is the cheapest.

    Choosing, sorting and joining rows handles keys alone. Going through the column, `.map`, `.str`, `.tolist()` and
    printing read; what was read is not kept. A key that is None is a missing text.
    """

    dtype = LazyDtype()

    def __init__(self, source, keys: np.ndarray):
        self.source, self._keys = source, keys  # not "keys": pandas would take it for a mapping

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, item):
        if np.ndim(item) == 0 and not isinstance(item, slice):
            return self[[item]].map(None)[0]
        return type(self)(self.source, self._keys[check_array_indexer(self, item)])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self[start : start + AT_ONCE].map(None)

    def map(self, mapper: Callable | None, na_action=None) -> np.ndarray:
        """`mapper` of every text (None: the text itself), holding no more texts than are read together."""
        made = np.full(len(self), None, dtype=object)
        there = np.flatnonzero(~self.isna())
        for position, text in self.source.texts(self._keys[there]):
            made[there[position]] = text if mapper is None else mapper(text)
        return made

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.map(None).astype(dtype or object)

    def __arrow_array__(self, type=None) -> pa.Array:
        return pa.array(self.map(None), type=type or pa.large_string())

    def __getattr__(self, name: str):
        if name.startswith("_str_"):  # what Series.str calls
            return getattr(self.astype("str"), name)
        raise AttributeError(name)

    def __eq__(self, other) -> np.ndarray:
        if np.ndim(other):
            return np.asarray(self) == np.asarray(other, dtype=object)
        return self.map(lambda text: text == other).astype(bool)

    def isna(self) -> np.ndarray:
        return pd.isna(self._keys)

    def take(self, indices, *, allow_fill: bool = False, fill_value=None) -> "Lazy":
        return type(self)(
            self.source, take(self._keys, np.asarray(indices, int), allow_fill=allow_fill, fill_value=None)
        )

    def copy(self) -> "Lazy":
        return type(self)(self.source, self._keys.copy())

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes

    @classmethod
    def _from_sequence(cls, scalars, *, dtype=None, copy=False):
        if isinstance(scalars, Lazy):
            return scalars.copy() if copy else scalars
        raise TypeError("texts that are in memory are no lazy column")

    @classmethod
    def _concat_same_type(cls, to_concat: list["Lazy"]) -> ExtensionArray:
        if any(one.source is not to_concat[0].source for one in to_concat):  # of two stores
            return pd.array(np.concatenate([np.asarray(one) for one in to_concat]), dtype="str")
        return cls(to_concat[0].source, np.concatenate([one._keys for one in to_concat]))
