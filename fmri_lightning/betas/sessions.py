"""Read, standardise and write the sessions of a store, one after the other or in several processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.partial import PartialStore, SessionRecord
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.store import require_few_bad
from fmri_lightning.betas.t0 import apply_t0, no_statistics, session_statistics
from fmri_lightning.errors import BadInputError, StageError


@dataclass(frozen=True)
class SessionWork:
    """One session to read: plain data, so that another process can do it.

    Attributes:
        source: The betas.
        session: 1-based.
        fingerprint: Of its file.
        rows: Rows of the store, (n,) int64.
        beta_index: Rows of the source, (n,).
        is_train: Trials whose picture is in the train split, (n,) bool.
        normalised: The betas come normalised: T0 is skipped.
        dtype: "float32" or "float16".
    """

    source: BetaSource
    session: int
    fingerprint: str
    rows: NDArray[np.int64]
    beta_index: NDArray[np.integer]
    is_train: NDArray[np.bool_]
    normalised: bool
    dtype: str


def write_session(work: SessionWork, partial: PartialStore) -> SessionRecord:
    """Read one session, apply T0, and write rows and record.

    Args:
        work: What to read.
        partial: The store being written.

    Returns:
        The record.

    Raises:
        BadInputError: If the file is damaged, or more than 1 % of the voxels carry no signal.
    """
    started_s = time.perf_counter()
    betas = work.source.read(work.session, work.beta_index)
    statistics = no_statistics(betas) if work.normalised else session_statistics(betas, work.is_train)
    require_few_bad(statistics.bad, str(work.source.files[work.session]))
    z = apply_t0(betas, statistics, out=betas)
    stored = z.astype(work.dtype, copy=False)
    if not np.isfinite(stored).all():
        raise BadInputError(
            f"{work.source.files[work.session]}: values up to {np.abs(z).max():.3g} do not fit into {work.dtype}; "
            "use --dtype float32"
        )
    partial.write_rows(work.session, work.rows, stored)
    # Where nothing is rounded, nothing needs to be subtracted.
    error = (stored.astype(np.float32) - z) if stored is not z else np.zeros(1, dtype=np.float32)
    record = SessionRecord(
        statistics,
        work.fingerprint,
        work.source.bytes_of(work.session),
        round(time.perf_counter() - started_s, 4),
        float(np.sqrt(np.square(error, dtype=np.float64).mean())),
        float(np.abs(error).max()),
    )
    partial.write_record(work.session, record)
    return record


def write_sessions(
    work: list[SessionWork], partial: PartialStore, jobs: int
) -> Iterator[tuple[int, SessionRecord | StageError]]:
    """Write several sessions; one that is damaged does not stop the others.

    Args:
        work: Sessions to read.
        partial: The store being written.
        jobs: Processes; 1 reads in this one.

    Yields:
        Session number, and its record or what is wrong with it, as they finish.
    """
    if jobs == 1 or len(work) < 2:
        for one in work:
            try:
                yield one.session, write_session(one, partial)
            except StageError as error:
                yield one.session, error
        return
    # Fresh interpreters: HDF5 and BLAS hold locks and threads that a fork would copy in the middle of their work.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(work)), mp_context=context) as pool:
        futures: dict[Future[SessionRecord], int] = {pool.submit(write_session, w, partial): w.session for w in work}
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except StageError as error:
                    yield futures[future], error
        finally:
            pool.shutdown(cancel_futures=True)
