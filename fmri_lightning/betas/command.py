"""The ``betas`` command: beta store (T0) and preprocessing (T1, T2)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fmri_lightning.errors import BadInputError, StageError, UsageError

if TYPE_CHECKING:
    from fmri_lightning.betas.build import StorePlan
    from fmri_lightning.betas.fit import PreprocessConfig
    from fmri_lightning.betas.store import BetaStore


def betas(
    root: Path,
    index: Path = Path("outputs/nsd_index"),
    subject: str = "subj01",
    space: str = "func1pt8mm",
    betas_version: str = "b3",
    roi: str = "nsdgeneral",
    out: Path = Path("outputs/betas"),
    preproc_out: Path = Path("outputs/preproc"),
    like: Path | None = None,
    tier: Literal["T0", "T1", "T2"] = "T1",
    k: int = 512,
    mask: Literal["reliability", "ncsnr", "ncsnr_published", "roi"] = "reliability",
    threshold: float = 0.1,
    dtype: Literal["float32", "float16"] = "float32",
    jobs: int = 1,
    verify_files: bool = False,
    seed: int = 0,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Read a subject's betas into a memory-mapped store and fit the preprocessing of the encoders.

    Args:
        root: Folder of the data that the index was made from.
        index: Folder of the indices; an index says what its source is.
        subject: Subject, for instance subj01.
        space: func1pt8mm, func1mm, or fsaverage for the average surface; nsd only.
        betas_version: b1, b2, b3, or the folder's own name; nsd only.
        roi: Region whose voxels are kept (label above 0); arrays have the region "all".
        out: Folder of the stores; a subject gets its own.
        preproc_out: Folder of the preprocessings; a subject gets its own.
        like: Training store, or the folder of all subjects' stores, for an index that is prediction only (nsd_imagery,
            nsd_synthetic): exactly its voxels are read, of its space and betas version, and no preprocessing is fitted;
            by default none.
        tier: T0 (session z-score only), T1 (scaling and reliability mask), T2 (principal components of T1).
        k: Principal components of T2.
        mask: What judges a voxel in T1: reliability of repeats, our ncsnr, NSD's published ncsnr (which saw
            test trials), or roi (no judge).
        threshold: Smallest reliability of means of three repeats.
        dtype: Number type of the store; float16 halves it, and what it rounds away is measured and told.
        jobs: Processes that read sessions; each holds one session of the mask in memory.
        verify_files: Hash every session file in full: recorded with a new store, compared with the record of one that
            is there. Without it a file is told by its size, first and last MiB.
        seed: Seed of the random repeat pairs.
        dry_run: Check the inputs and say what would be read and written.
        overwrite: Replace a store or preprocessing made from other inputs or settings.

    Raises:
        UsageError: If jobs is below 1, or like is missing or given where it has no place.
        BadInputError: If an input is missing, damaged or of another shape, or another run's output is in the way.
        ResourceError: If the disk is too small or another job writes the same folder.
    """
    from fmri_lightning.betas.build import plan_store
    from fmri_lightning.betas.fit import PreprocessConfig, require_fittable

    if jobs < 1:
        raise UsageError(f"--jobs is at least 1, not {jobs}")
    if like is not None:
        folder = Path(out) / subject
        _betas_like(Path(index), Path(root), subject, Path(like), dtype, folder, jobs, verify_files, dry_run, overwrite)
        return
    config = PreprocessConfig(tier=tier, k=k, mask=mask, threshold=threshold, seed=seed)
    plan = plan_store(Path(index), Path(root), subject, space, betas_version, roi, dtype)
    require_fittable(plan.table, config, bool(plan.source.facts["has_published_ncsnr"]))
    store_folder, preproc_folder = Path(out) / subject, Path(preproc_out) / subject
    store_done = _is_done(store_folder, "betas", plan.fingerprint, overwrite)
    if not overwrite:
        _refuse_foreign_preprocess(preproc_folder, store_folder, store_done, config)
    if dry_run:
        print(_bill(plan, store_folder, preproc_folder, config, jobs))
        return
    store = _make_store(plan, store_folder, store_done, jobs, verify_files)
    _make_preprocess(store, plan, config, preproc_folder)


def _betas_like(
    index: Path,
    root: Path,
    subject: str,
    like: Path,
    dtype: str,
    folder: Path,
    jobs: int,
    verify_files: bool,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Write the store of an index that is prediction only; its preprocessing is that of the training store."""
    from fmri_lightning.betas.build import plan_store

    plan = plan_store(index, root, subject, "", "", "", dtype, like)
    done = _is_done(folder, "betas", plan.fingerprint, overwrite)
    if dry_run:
        trials, voxels = plan.shape
        print(
            f"{subject}: would read {trials} trials of the {voxels} voxels of {like} "
            f"({plan.bytes_to_read / 1e9:.2f} GB) and write {plan.n_bytes / 1e9:.2f} GB to {folder}; "
            "no preprocessing is fitted"
        )
        return
    _make_store(plan, folder, done, jobs, verify_files)
    print(f"prediction only: the voxels are those of {like}; predict takes the preprocessing fitted on that store")


def _bill(plan: StorePlan, store_folder: Path, preproc_folder: Path, config: PreprocessConfig, jobs: int) -> str:
    """Say what a run would read, write and hold in memory."""
    trials, voxels = plan.shape
    per_session = max(int((plan.table.session == s).sum()) for s in plan.source.files)
    # A session is there three times while T0 is applied; T2 holds all training trials at once.
    memory = 3 * 4 * per_session * voxels * jobs
    if config.tier == "T2":
        memory = max(memory, 2 * 4 * int((plan.table.split == "train").sum()) * voxels)
    return (
        f"{plan.config['subject']}: would read {trials} trials of {voxels} voxels from {len(plan.source.files)} "
        f"sessions ({plan.bytes_to_read / 1e9:.2f} GB of {_size_of_files(plan) / 1e9:.2f} GB) with {jobs} jobs, write "
        f"{plan.n_bytes / 1e9:.2f} GB to {store_folder} and tier {config.tier} to {preproc_folder}, and hold about "
        f"{memory / 1e9:.2f} GB in memory"
    )


def _size_of_files(plan: StorePlan) -> int:
    return sum(path.stat().st_size for path in plan.source.all_paths)


def _is_done(folder: Path, kind: str, plan: str, overwrite: bool) -> bool:
    """Say whether a folder holds just what is wanted; refuse anything else unless it may be replaced."""
    from fmri_lightning.manifest import read_manifest

    if not (folder / "manifest.json").is_file():
        return False
    manifest = read_manifest(folder, kind)
    if manifest.config.get("plan") == plan:
        return True
    if not overwrite:
        raise BadInputError(
            f"{folder} holds a {kind} made from other inputs or settings; choose another folder, "
            "or replace it with --overwrite"
        )
    return False


def _refuse_foreign_preprocess(folder: Path, store_folder: Path, store_done: bool, config: PreprocessConfig) -> None:
    """Refuse before the betas are read, not after."""
    from fmri_lightning.betas.artefact import preprocess_plan
    from fmri_lightning.manifest import read_manifest

    plan = ""
    if store_done:
        manifest = read_manifest(store_folder, "betas")
        plan = preprocess_plan(manifest.content_hash, manifest.inputs["split"], config)
    _is_done(folder, "preproc", plan, overwrite=False)


def _make_store(plan: StorePlan, folder: Path, done: bool, jobs: int, verify_files: bool) -> BetaStore:
    from fmri_lightning.betas.build import build_store
    from fmri_lightning.betas.store import BetaStore
    from fmri_lightning.locks import run_lock

    if done:
        store = BetaStore.open(folder)
        if verify_files:
            _verify_files(store, plan)
    else:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            with run_lock(folder):
                store = build_store(plan, folder, jobs, verify_files)
        except StageError:
            # Bad input leaves nothing behind, not even the folders.
            with contextlib.suppress(OSError):
                for path in made:
                    path.rmdir()
            raise
    _say_store(store, done)
    return store


def _verify_files(store: BetaStore, plan: StorePlan) -> None:
    from fmri_lightning.betas.build import hash_files

    recorded = store.manifest.config.get("file_sha256")
    if recorded is None:
        raise BadInputError(
            f"{store.folder} was made without --verify_files and holds no hashes of whole files; make it again with "
            "--verify_files true --overwrite true"
        )
    changed = [name for name, found in hash_files(plan).items() if recorded.get(name) != found]
    if changed:
        raise BadInputError(
            f"{changed[0]} is not the file that {store.folder} was made from ({len(changed)} of {len(recorded)} files "
            "changed, size and ends are the same): download it again"
        )
    print(f"{len(recorded)} session files are those the store was made from, by their sha256")


def _say_store(store: BetaStore, done: bool) -> None:
    facts = store.manifest.config
    print(store.folder / "betas.npy")
    print(
        f"{facts['subject']}: {store.betas.shape[0]} trials of {store.betas.shape[1]} voxels, "
        f"{facts['n_dropped']} dropped as constant or NaN" + (", unchanged" if done else "")
    )
    if facts["rounding_max_sd"]:
        print(
            f"float16 rounded by {facts['rounding_rms_sd']:.1e} standard deviations (root mean square), at most "
            f"{facts['rounding_max_sd']:.1e}"
        )
    _say_ncsnr(facts["ncsnr"])
    if facts["t0"].startswith("skipped"):
        print(f"T0 {facts['t0']}")
    if facts["transductive_sessions"]:
        print(f"sessions without train trials, standardised by their own: {facts['transductive_sessions']}")
    if facts["simulated"]:
        print("These betas are simulated.")


def _say_ncsnr(compared: dict[str, Any]) -> None:
    """Tell our ncsnr beside the published one; two maps of one brain agree."""
    if compared["median"] is None:
        return
    line = f"median ncsnr {compared['median']:.3f} from train trials"
    if compared["correlation"] is not None:
        line += (
            f", {compared['median_published']:.3f} in the published map (all trials); correlation over "
            f"{compared['n_voxels']} voxels {compared['correlation']:.3f}"
        )
        if compared["agrees"] is False:
            line += "\nwarning: that map does not belong to these betas, or the voxels are in another order"
    print(line)


def _make_preprocess(store: BetaStore, plan: StorePlan, config: PreprocessConfig, folder: Path) -> None:
    from fmri_lightning.betas.artefact import preprocess_plan, save_preprocess
    from fmri_lightning.betas.fit import fit_preprocess
    from fmri_lightning.locks import run_lock
    from fmri_lightning.manifest import read_manifest

    wanted = preprocess_plan(store.manifest.content_hash, store.manifest.inputs["split"], config)
    if _is_done(folder, "preproc", wanted, overwrite=True):
        manifest = read_manifest(folder, "preproc")
    else:
        fitted = fit_preprocess(store, plan.table, config)
        with run_lock(folder):
            manifest = save_preprocess(folder, fitted, config, store)
    print(folder / "preproc.safetensors")
    line = f"tier {config.tier}: {manifest.config['n_features']} features of {store.betas.shape[1]} voxels"
    if config.tier == "T2" and manifest.config["k_fitted"] < config.k:
        line += f" (k {config.k} is more than trials and voxels allow)"
    print(line)
    if manifest.config.get("saw_test_trials"):
        print("The published ncsnr saw test trials; the manifest says so.")
