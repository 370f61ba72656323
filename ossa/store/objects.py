"""Object storage: a folder on a volume, S3, GCS or Azure behind one interface, opened by URL."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ossa.store.errors import StorageFull, Unavailable


class StoreUnusable(Exception):
    """The storage cannot be opened; the message says why and which."""


def open_store(url: str, *, what: str) -> tuple[ObjectStore, Path | None]:
    """The storage of a URL: ``file:///data``, ``s3://bucket/prefix``; and its folder, where it is one.

    Credentials come from the environment, as each provider has it (AWS_*, …).

    Raises:
        StoreUnusable: says of `what`.
    """
    parts = urlsplit(url)
    try:
        store = from_url(url)
    except (BaseError, ValueError) as error:
        raise StoreUnusable(f"{what} {url!r} cannot be opened: {_first_line(error)}") from error
    return store, Path(url2pathname(parts.path)) if parts.scheme == "file" else None


@contextlib.contextmanager
def translated(kept: str) -> Iterator[None]:
    """Turns the storage's errors into ours. kept: what it holds, for a person.

    Raises:
        StorageFull: nothing more can be written.
        Unavailable: it does not answer.
    """
    try:
        yield
    except BaseError as error:
        # The storage's errors carry the system's error as text only.
        if f"code: {errno.ENOSPC}," in str(error) or f"code: {errno.EDQUOT}," in str(error):
            raise StorageFull(f"no space is left for {kept}; delete old ones or enlarge the volume") from error
        raise Unavailable(f"the storage of {kept} does not answer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
