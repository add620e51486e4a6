"""Read the texts of Parquet files, some rows at a time."""

from collections.abc import Iterator

from lm_objectives.data.preparation.arrow_columns import ROWS, column_texts, text_column
from lm_objectives.data.preparation.storage import File, open_seekable
from lm_objectives.errors import InputError


def parquet_texts(file: File, field: str, others: set[str]) -> Iterator[str]:
    """The text of each row; names of other columns are added to `others`."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with open_seekable(file) as stream, ParquetFile(stream, pre_buffer=False, buffer_size=2**20) as table:
            path = text_column(table.schema_arrow, field, file, others)
            batches = table.iter_batches(batch_size=ROWS, columns=[".".join(path)])
            for texts in map(lambda batch: column_texts(batch, path, file), batches):
                pa.default_memory_pool().release_unused()  # of a large row it keeps several times as much
                yield from texts
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"expected a Parquet file, found none at {file} ({reason}): check it") from error
