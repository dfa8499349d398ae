"""Charts as a browser gets them: the specification, and the data as Arrow streams beside it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import altair as alt
import polars as pl

# Altair's registries are the process's, and each reader's pages are made in a thread of their own.
_REGISTRIES = threading.Lock()


@contextmanager
def data_written(by: str, **options) -> Iterator[None]:
    """Altair with one of its ways to write data, and no other thread's."""
    with _REGISTRIES, alt.data_transformers.enable(by, **options):
        yield


def in_streams(chart: alt.TopLevelMixin) -> dict:
    """The chart in Vega-Lite with its data in `datasets`: Arrow streams, each by the hash of its contents.

    Not checked against the schema of Vega-Lite, which took two thirds of a page's time: `specification` checks every
    chart that is downloaded, and those that tests draw.
    """
    streams: dict[str, bytes] = {}

    def write(frame: pl.DataFrame) -> dict[str, str]:
        file = BytesIO()
        # The browser's Arrow knows no views of strings.
        frame.write_ipc_stream(file, compat_level=pl.CompatLevel.oldest())
        stream = file.getvalue()
        name = hashlib.sha256(stream).hexdigest()[:32]
        streams[name] = stream
        return {"name": name}

    alt.data_transformers.register("streams", lambda frame, target: target(frame))
    with data_written("streams", target=write), alt.theme.enable("none"):
        return chart.to_dict(validate=False) | {"datasets": streams}
