import numpy as np
from PIL import Image

from fmri_lightning.report.grids import triptych, write_grids
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.truth import Truth, read_truth
from tests.report.conftest import IDS, NEIGHBOURS, scene


def panels_of(grid):
    """Cut a triptych back into its pictures."""
    array = np.asarray(grid)
    width = (array.shape[1] - 8) // 3
    return [array[16:, i * (width + 4) : i * (width + 4) + width] for i in range(3)]


def test_triptychs_hold_truth_picture_and_neighbour_in_this_order(scored_run):
    (run,) = read_runs([scored_run])
    write_grids(run, read_truth([run], None))
    for nsd_id in IDS:
        with Image.open(scored_run / f"grids/nsd{nsd_id}_grid.png") as grid:
            truth, drawn, near = panels_of(grid)
        # 64 px pictures are doubled pixel by pixel, so halving them loses nothing.
        np.testing.assert_array_equal(drawn[::2, ::2], scene(100 + nsd_id, 64))
        for panel, nsd in ((truth, nsd_id), (near, NEIGHBOURS[nsd_id])):
            expected = Image.fromarray(scene(nsd)).resize((128, 128), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(panel, np.asarray(expected))


def test_one_sheet_holds_sixteen(scored_run):
    (run,) = read_runs([scored_run])
    truth = read_truth([run], None)
    many = [run.results[i % 4] for i in range(17)]
    run.summary["results"] = many
    sheets = [path.name for path in write_grids(run, truth) if path.name.startswith("sheet")]
    assert sheets == ["sheet_001.png", "sheet_002.png"]


def test_grids_are_the_same_bytes_again(scored_run):
    (run,) = read_runs([scored_run])
    truth = read_truth([run], None)
    first = {path: path.read_bytes() for path in write_grids(run, truth)}
    assert {path: path.read_bytes() for path in write_grids(run, truth)} == first


def test_single_trials_of_one_stimulus_keep_apart(scored_run):
    (run,) = read_runs([scored_run])
    for trial, result in enumerate(run.results[:2]):
        image = f"images/nsd4_trial{trial}_generated.png"
        Image.fromarray(scene(trial, 64)).save(scored_run / image)
        result |= {"nsdId": 4, "image_path": image}
    write_grids(run, read_truth([run], None))
    assert (scored_run / "grids/nsd4_trial0_grid.png").is_file()
    assert (scored_run / "grids/nsd4_trial1_grid.png").is_file()


def test_a_picture_that_is_not_at_hand_is_grey_and_says_so():
    grid = triptych((None, Image.fromarray(scene(1, 64)), Truth({}).picture(3)), "nsd4")
    truth, _, near = panels_of(grid)
    assert tuple(truth[-1, -1]) == tuple(near[-1, -1]) == (225, 225, 225)
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) > 1


def test_strip_shows_the_first_stimuli_of_the_runs_own_order(scored_run, tmp_path):
    import numpy as np
    from PIL import Image

    from fmri_lightning.report.runs import read_runs
    from fmri_lightning.report.strip import write_strip
    from fmri_lightning.report.truth import read_truth

    runs = read_runs([scored_run])
    truth = read_truth(runs, None)
    path = write_strip(runs, truth, tmp_path / "strip.png", n_stimuli=2)
    assert path is not None
    strip = np.asarray(Image.open(path))
    first, second = (truth.picture(result["nsdId"]).resize((96, 96), 0) for result in runs[0].results[:2])
    assert np.abs(strip[:96, 112:208].astype(int) - np.asarray(first)).mean() < 20
    assert np.abs(strip[:96, 210:306].astype(int) - np.asarray(second)).mean() < 20
    assert strip.shape[0] == (2 + len({"true_target", "shuffled"} & set(runs[0].controls))) * 98
