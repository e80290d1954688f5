"""The ``brain`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from fmri_lightning.evaluation.voxels.compute import Settings


def brain(
    run: Path,
    patterns: bool = True,
    encoding: bool = True,
    ablation: bool = True,
    maps: bool = True,
    rois: list[str] | None = None,
    controls: int = 20,
    controls_from: Literal["all", "outside"] = "all",
    min_voxels: int = 10,
    min_ceiling: float = 0.1,
    permutations: int = 1000,
    resamples: int = 2000,
    seed: int = 0,
    clip_cache: Path | None = None,
    betas: Path | None = None,
    preproc: Path | None = None,
    root: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Show which voxels and regions a run's decoding rests on, in the subject's own space.

    Tables, bars and native volumes go to {run}/brain, which is written anew; the page of report shows them.

    Args:
        run: Run folder of predict.
        patterns: Patterns of the run's encoder (Haufe et al. 2014): how voxels go with what was decoded, from
            training trials. Weights of an encoder do not say that and are not written.
        encoding: How well true embeddings predict each voxel on test stimuli, beside its noise ceiling.
        ablation: What a ridge regression loses without each region and reaches with nothing else, fitted anew
            each time on training stimuli; whatever the run's encoder is, these numbers are ridge's.
        maps: Also write the maps as NIfTI volumes where the voxels have positions, and on flattened cortex where the
            tree has NSD's transforms to the subject's surface and a flat patch.
        rois: Region volumes whose every label is a region, for instance floc-faces HCP_MMP1, or all; by default
            V1 to hV4, the streams, and areas for bodies, faces, places and words.
        controls: Random sets of as many voxels as each region, for the ablation; 0 for none.
        controls_from: Draw those from all voxels that the encoder reads, or from those outside the region.
        min_voxels: Smaller regions are left out and named.
        min_ceiling: Smallest noise ceiling that squared encoding accuracy is divided by, 0 to 1.
        permutations: How often means over test trials are given to other stimuli, for the p of encoding accuracy.
        resamples: Bootstrap resamples of every interval, over stimuli.
        seed: Seed of random sets, permutations and bootstrap.
        clip_cache: CLIP cache of the true embeddings; by default where the run says.
        betas: Beta store; by default where the run says.
        preproc: Preprocessing; by default where the run says.
        root: NSD tree that the betas were read from, for the maps; by default where the beta store says.
        dry_run: Check all inputs, say what will be computed, and stop.

    Raises:
        UsageError: Nothing is asked for, or an option is out of its range.
        BadInputError: An input is missing, is another one than the run's, or holds too few trials.
    """
    if not (patterns or encoding or ablation):
        raise UsageError("nothing is left to do: leave one of --patterns, --encoding and --ablation true")
    if resamples < 100:
        raise UsageError(f"--resamples {resamples} gives no interval; take at least 100")
    if controls < 0 or min_voxels < 1 or permutations < 1:
        raise UsageError("--controls starts at 0, --min_voxels and --permutations at 1")
    if not 0 < min_ceiling <= 1:
        raise UsageError(f"--min_ceiling {min_ceiling}: it is a share of variance, above 0 and up to 1")
    from fmri_lightning.evaluation.voxels.ablation import AblationPlan
    from fmri_lightning.evaluation.voxels.compute import Settings, compute, cost
    from fmri_lightning.evaluation.voxels.flat import flat_cortex
    from fmri_lightning.evaluation.voxels.maps import native_space
    from fmri_lightning.evaluation.voxels.material import open_material
    from fmri_lightning.evaluation.voxels.results import FOLDER, SUMMARY, Places, summarise, write_results

    plan = AblationPlan(controls, controls_from, min_voxels, resamples, seed)
    settings = Settings(patterns, encoding, ablation, min_ceiling, permutations, plan)
    material = open_material(run, clip_cache, betas, preproc, rois, min_voxels)
    store = material.brain.store
    space, why = native_space(store, root) if maps else (None, "maps were not asked for")
    tree = root if root is not None else Path(str(store.manifest.config.get("root", "")))
    cortex, why_not_flat = ([], "") if space is None else flat_cortex(space, tree)
    places = Places(space, why, cortex, why_not_flat)
    folder = run / FOLDER
    print(cost(material, settings))
    for name, reason in material.rois.skipped.items():
        print(f"left out {name}: {reason}")
    if why:
        print(f"no maps: {why}")
    if why_not_flat:
        print(f"no flat map: {why_not_flat}")
    if dry_run:
        print(f"{folder}: nothing written")
        return
    found = compute(material, settings)
    summary = summarise(material, settings, found, places)
    write_results(folder, material, found, summary, places)
    _print(summary, settings)
    print(folder / SUMMARY)


def _print(summary: dict[str, Any], settings: Settings) -> None:
    simulated = " (simulated brain)" if summary["simulated"] else ""
    print(f"{summary['subject']}, {summary['n_read']} of {summary['n_voxels']} voxels are read{simulated}")
    for quantity, regions in summary["regions"].items():
        for region, entry in regions.items():
            if entry["value"] is not None:
                interval = f"[{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"
                print(f"  {quantity:<20} {region:<14} {entry['value']:.3f} {interval}")
    encoding = summary["encoding"]
    if encoding is not None:
        print(f"  {encoding['n_significant']} of {encoding['n_tested']} voxels are predicted (q <= .05)")
    if summary["ablation"] is None:
        return
    for region, entry in summary["ablation"]["regions"].items():
        said = [f"alone {entry['keep']['centred_cosine']['value']:.3f}{_against(entry['keep'])}"]
        if "drop" in entry:
            change = entry["drop"]["centred_cosine"]["difference"]
            interval = f"[{change['ci_low']:.3f}, {change['ci_high']:.3f}]"
            said.append(f"without it {change['value']:+.3f} {interval}{_against(entry['drop'])}")
        print(f"  ridge, centred cosine {region:<14} {'; '.join(said)}")


def _against(entry: dict[str, Any]) -> str:
    one = entry["centred_cosine"]
    if not one["controls"]:
        return ""
    return f" (random {sum(one['controls']) / len(one['controls']):+.3f}, p = {one['p']:.3f})"
