"""The benchmark of methods: its plan, cells that are done once, the report from records alone, and one real tiny
cell.
"""
from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.benchmark.figures import FIGURES, MUST_HOLD
from jittor_ipl.benchmark.plan import RECORD, chosen, plan
from jittor_ipl.benchmark.report import markdown
from jittor_ipl.benchmark.results import Results, contests, holding
from jittor_ipl.benchmark.settings import load_benchmark
from jittor_ipl.benchmark.work import work
from jittor_ipl.disk.integrity import read_sealed, write_sealed
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png

ROOT = Path(__file__).resolve().parents[1]
BENCH = """
name: tiny
sources: [{{suite: {suite}, title: portraits, styles: [disney, ukiyo-e]}}]
methods:
  nada: {{title: NADA, set: [method=nada, "generator.steps={steps}"]}}
  ours: {{set: [method=nada, generator.steps=1, generator.batch=1]}}
about: chosen by lot
peers: {{its ancestor: [nada]}}
seeds: [2, 3]
samples: 20
{more}
"""


def drawn(run) -> int:
    """How many pictures a training draws of the target."""
    return run.generator.steps * run.generator.batch


CLIP = "configs/demo_clip.yaml"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def bench(tmp_path):
    """Write a benchmark file, with changes, and return its path."""
    def write(steps: int = 1, more: str = "", suite: str = CLIP, change=lambda text: text) -> Path:
        path = tmp_path / "bench.yaml"
        path.write_text(change(BENCH.format(steps=steps, more=more, suite=suite)))
        return path
    return write


@pytest.fixture
def doing(monkeypatch):
    """Have cells done by writing a made-up record; the list of what was done."""
    from jittor_ipl.benchmark import cell as cells
    done = []

    def do(cell, folder):
        if cell.seed == 13:
            raise UserError("an unlucky seed")
        done.append(cell.label)
        record = {**made_up(0.5), "identity": cell.identity()}
        write_sealed(cell.folder / RECORD, record)
        return record
    monkeypatch.setattr(cells, "run_cell", do)
    return done


def made_up(value: float, **figures: float) -> dict:
    """A record whose figures are all `value` but the named ones."""
    training = {"steps_mapper": 0, "steps_generator": 1, "pictures_generator": 2, "seconds_mapper": 0.0,
                "seconds_generator": 8.0}
    return {"figures": {**dict.fromkeys(FIGURES, value), **figures},
            "attributes": {"hair": {"kept": value, "meant": value}},
            "note": "The demo judge serves.", "versions": {"numpy": "1"}, "training": training,
            "seconds_measuring": 3.0}


def quiet(cells, tmp_path, **options):
    return work(cells, tmp_path / "cells/.cache", tell=lambda line: None, **options)


def test_the_shipped_benchmark_is_the_promised_one(tmp_path):
    benchmark = load_benchmark("configs/benchmark.yaml")
    cells = plan(benchmark, tmp_path)
    assert list(benchmark.methods) == ["ours", "pairs", "dds", "sds", "ld", "pairs-words", "pairs-clip", "clip", "nada",
                                       "ipl", "nada-own", "ipl-own"]
    assert (len(benchmark.styles()), benchmark.seeds, benchmark.samples) == (10, [3, 4, 5], 1000)
    ablated = len(benchmark.ablations.variants) * len(benchmark.ablations.styles) * len(benchmark.ablations.seeds)
    assert len(cells) == 10 * (12 * 3 + 2) + ablated and len({cell.folder for cell in cells}) == len(cells)
    assert min(benchmark.first_seed, benchmark.first_reference_seed) >= 2_000_000
    runs = {cell.method: cell.run for cell in cells if cell.key[1:] == ("cubism", 4)}
    assert {run.generator_seed for run in runs.values()} == {run.mapper_seed for run in runs.values()} == {4}
    assert (runs["ours"].method, runs["clip"].method, runs["ipl"].method) == ("teacher", "nada", "ipl")
    assert runs["pairs-words"].teacher.describe is None and runs["pairs-words"].teacher.target == "{target}"
    assert runs["pairs-clip"].clip == runs["clip"].clip and runs["pairs-clip"].losses == runs["clip"].losses
    for peer in benchmark.peers["CLIP alone"]:
        assert runs[peer].method != "teacher" and runs[peer].clip == runs["clip"].clip
        assert runs[peer].generator.direction_floor == runs["clip"].generator.direction_floor
        assert drawn(runs[peer]) == drawn(runs["clip"])
    hashes = [cell.run.training_hash() for cell in cells if cell.run]
    assert len(set(hashes)) == len(hashes), "two rows are the same"


@pytest.mark.parametrize("change, told", [
    (lambda t: t.replace("samples", "sample"), "did you mean 'samples'"),
    (lambda t: t.replace("samples: 20", "samples: 2"), "samples"),
    (lambda t: t.replace("[nada]", "[nadia]"), "did you mean 'nada'"),
    (lambda t: t + "sheet: {methods: [our]}", "did you mean 'ours'"),
    (lambda t: t.replace("  ours:", "  truth:") + "ours: truth", "that name is taken"),
    (lambda t: t.replace("  ours:", "  ../ours:"), "would not stay"),
    (lambda t: t.replace("seeds: [2, 3]", "seeds: [2, 2]"), "listed twice"),
    (lambda t: t + "first_seed: 5", "first_seed"),
    (lambda t: t + "first_reference_seed: 2000010", "overlap"),
    (lambda t: t.replace("ukiyo-e", "ukiyo"), "did you mean 'ukiyo-e'"),
    (lambda t: t.replace("generator.batch", "generator.bach"), "did you mean 'batch'"),
    (lambda t: t.replace("method=nada, generator.steps=1", "'source={generator: demo:pets-generator}'"),
     "another source generator"),
    (lambda t: t.replace("styles: [disney", "references: {disney: x}, styles: [disney"), "remove references"),
    (lambda t: t + "ablations: {styles: [disney], seeds: [7], variants: {}}", "seeds"),
])
def test_mistakes_are_told_before_anything_is_trained(bench, tmp_path, change, told):
    with pytest.raises(UserError, match=told):
        plan(load_benchmark(bench(change=change)), tmp_path)


def test_the_benchmark_of_real_weights_says_which_file_it_lacks(tmp_path, capsys):
    path = "configs/benchmark_real.yaml"
    cells = plan(load_benchmark(path), tmp_path)
    assert len(cells) == 10 * (9 * 3 + 1)                # no true renders
    runs = {cell.method: cell.run for cell in cells if cell.key[1:] == ("cubism", 3)}
    assert runs["official"].compat == "official" and runs["ipl-star"].mapper.prompts == "shipped"
    assert runs["ours"].generator.variations == "pets"
    assert drawn(runs["ours"]) == drawn(runs["nada"])
    assert cli.main(["benchmark", "--config", path, "--output", str(tmp_path), "--write", str(tmp_path / "r.md")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: 'references/disney' is not a folder") and told.count("\n") == 1
    assert not (tmp_path / "r.md").exists()


def test_cells_are_chosen(bench, tmp_path):
    cells = plan(load_benchmark(bench()), tmp_path)
    assert {cell.key for cell in chosen(cells, "ours//3")} == {("ours", "disney", 3), ("ours", "ukiyo-e", 3)}
    assert {cell.key for cell in chosen(cells, "/disney")} >= {("truth", "disney", None), ("nada", "disney", 2)}
    with pytest.raises(UserError, match="did you mean 'disney'"):
        chosen(cells, "/disny")
    assert cli.main(["benchmark", "--config", str(bench()), "--output", str(tmp_path), "--only", "//9"]) == 2


def test_cells_reach_worker_processes(bench, tmp_path):
    """`--jobs 2` sends cells to other processes; a subject of the demo world stays one and the same object there."""
    cells = plan(load_benchmark(bench()), tmp_path)
    sent = pickle.loads(pickle.dumps(cells))
    assert [cell.identity() for cell in sent] == [cell.identity() for cell in cells]
    assert all(mine.place.subject is cell.place.subject for mine, cell in zip(sent, cells))


def test_a_cell_is_done_once(bench, tmp_path, doing):
    def cells(**changes):
        return plan(load_benchmark(bench(**changes)), tmp_path / "cells")
    assert quiet(cells(), tmp_path).done == len(doing) == 12
    doing.clear()
    assert quiet(cells(), tmp_path).already == 12 and not doing
    quiet(cells(steps=2), tmp_path)
    assert doing == [f"nada / {style} / seed {seed}" for seed in (2, 3) for style in ("disney", "ukiyo-e")]
    doing.clear()
    damaged = next(cell for cell in cells(steps=2) if cell.method == "ours").folder / RECORD
    damaged.write_text(damaged.read_text().replace("0.5", "0.9", 1))
    quiet(cells(steps=2), tmp_path)
    assert doing == ["ours / disney / seed 2"]
    doing.clear()
    quiet(cells(steps=2, more="networks: {clip: demo:clip-local}"), tmp_path)
    assert len(doing) == 12                              # another network measures: every figure is another


def test_a_failing_cell_stops_no_other_and_time_runs_out(bench, tmp_path, doing):
    cells = plan(load_benchmark(bench(change=lambda text: text.replace("[2, 3]", "[13, 3]"))), tmp_path / "cells")
    assert quiet(cells, tmp_path, minutes=0).left == 12 and not doing
    tally = quiet(cells, tmp_path)
    assert (tally.done, len(tally.failed)) == (8, 4) and "unlucky" in tally.failed[0]


def test_a_size_for_lpips_makes_other_cells_and_none_leaves_them_alone(bench, tmp_path):
    plain, none, sized = (plan(load_benchmark(bench(more=more)), tmp_path)[0] for more in
                          ("", "networks: {lpips_size: null}", "networks: {lpips_size: 32}"))
    assert "lpips_size" not in plain.place.protocol()["networks"]
    assert plain.identity() == none.identity() != sized.identity()


def test_a_row_may_name_a_suite_of_its_own(bench, tmp_path):
    def change(text):
        return text.replace("nada: {title: NADA, set: [method=nada,", f"nada: {{title: NADA, suite: {CLIP}, set: [")
    more = "ablations: {base: nada, styles: [disney], seeds: [2], variants: {local: {set: [generator.views=0]}}}"
    benchmark = load_benchmark(bench(suite="configs/demo.yaml", change=change, more=more))
    runs = {cell.method: cell.run for cell in plan(benchmark, tmp_path) if cell.key[1:] == ("disney", 2)}
    assert {name: run.suite for name, run in runs.items()} == \
        {"nada": "demo_clip", "ours": "demo", "ablation-local": "demo_clip"}
    text = markdown(benchmark, Results({}), None, "bash it.sh")
    assert f"suite `{CLIP}`: `generator.steps=1`" in text


def test_rows_that_were_not_run_are_left_out(bench, tmp_path):
    def change(records):
        for key in records:
            if key[0] == "nada":
                records[key] = None
    benchmark, found = results(bench, tmp_path, change)
    text = markdown(benchmark, found, None, "bash it.sh")
    assert "| NADA | 0 / 4" not in text and "- its ancestor: NADA (not run)" in text
    assert "| FID | 0 / 0 / 0, open 2 |" in text


def test_other_weights_make_another_cell(bench, tmp_path):
    weights = tmp_path / "generator.safetensors"
    shutil.copy("jittor_ipl/world/assets/generator.safetensors", weights)
    suite = tmp_path / "suite.yaml"
    suite.write_text(Path(CLIP).read_text().replace("demo:generator", str(weights)))
    cells = plan(load_benchmark(bench(suite=str(suite))), tmp_path / "cells")
    assert {cell.method for cell in cells} == {"source", "nada", "ours"}      # nobody knows the truth
    before = {cell.identity() for cell in cells}
    shutil.copy("jittor_ipl/world/assets/clip-local.safetensors", weights)
    assert not before & {cell.identity() for cell in cells}
    weights.unlink()
    tally = quiet(cells[:2], tmp_path, jobs=2)           # the processes answer, here with what is wrong
    assert len(tally.failed) == 2 and "no weight file" in tally.failed[0]


def results(bench, tmp_path, change=lambda records: None, **changes) -> tuple:
    benchmark = load_benchmark(bench(**changes))
    records = {cell.key: made_up(0.5) for cell in plan(benchmark, tmp_path)}
    change(records)
    return benchmark, Results(records)


def test_the_report_says_what_the_records_say(bench, tmp_path):
    def change(records):
        for style, two, three in (("disney", 0.90, 0.96), ("ukiyo-e", 0.50, 0.60)):
            records["ours", style, 2], records["ours", style, 3] = (made_up(0.6, judge=value,
                                                                            frechet_inception_distance=0.1)
                                                                    for value in (two, three))
        records["nada", "ukiyo-e", 3] = None
    benchmark, found = results(bench, tmp_path, change)
    mean = found.mean("ours", "disney", "judge")
    assert (mean.value, mean.deviation) == (pytest.approx(0.93), pytest.approx(0.03 * 2**0.5)) and mean.whole
    assert found.over_styles("nada", benchmark.styles(), "judge").done == 2
    assert found.counts("nada") == (3, 4)
    text = markdown(benchmark, found, "sheet.png", "bash it.sh")
    lines = text.splitlines()
    assert lines[2] == "The demo judge serves."
    assert "| ours | **93.0 ± 4.2** | **55.0 ± 7.1** |" in lines
    assert "| NADA | 50.0 ± 0.0 | 50.0 [1/2] |" in lines
    assert "chosen by lot" in lines
    assert "**11 of 12 cells (method, style, seed) are done**; - marks what is missing: nada ukiyo-e 3." in lines
    assert "| figure | its ancestor |" in lines and "- its ancestor: NADA" in lines
    # With seed 2 alone, the one that both have.
    assert "| Structure accuracy (%) | 2 / 0 / 0 |" in lines and "| FID | 2 / 0 / 0 |" in lines
    assert "| Judge accuracy (%) | 1 / 1 / 0 |" in lines and "| the figures above at once | 2 / 0 / 0 |" in lines
    assert any(line.startswith("| NADA | 3 / 4 | 50.0 | 0.50 |") and line.endswith(" 8 |") for line in lines)
    assert any(line.startswith("| ours | 4 / 4 | **60.0** |") for line in lines)
    assert "Sources and target styles: portraits → disney, ukiyo-e." in lines
    assert "| ours | 2 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 |" in lines
    assert "| NADA | 3 | 0 | 1 | 2 | 8 | 3 |" in lines
    assert "| method | hair |" in lines and "| ours | 60.0 |" in lines
    assert "![The same latents, method by method](sheet.png)" in lines
    assert any(line.startswith("Made by `bash it.sh`") for line in lines)


def test_a_method_without_peers_is_compared_with_none(bench, tmp_path):
    file = bench(change=lambda text: text.replace("{its ancestor: [nada]}", "{}"))
    text = markdown(load_benchmark(file), results(bench, tmp_path)[1], None, "bash it.sh")
    assert "## Ours against its peers" not in text and "## Summary" in text


def test_figures_that_no_source_can_have_are_in_no_table(bench, tmp_path):
    def change(records):
        for record in records.values():
            record["figures"] = {name: value for name, value in record["figures"].items()
                                 if name not in (*MUST_HOLD, "kept_uncoloured", "meant", "psnr")}
    benchmark, found = results(bench, tmp_path, change)
    text = markdown(benchmark, found, None, "bash it.sh")
    assert "Judge accuracy" not in text and "Way" not in text and "What must hold" not in text
    assert "| FID | 0 / 2 / 0 |" in text


def test_ties_and_losses_are_no_wins(bench, tmp_path):
    def change(records):
        records["ours", "disney", 2] = made_up(0.5, frechet_inception_distance=0.7)
    benchmark, found = results(bench, tmp_path, change)
    outcome = contests(found, "ours", ["nada"], benchmark.styles())
    assert (outcome["judge"].won, outcome["judge"].tied) == (0, 2)
    assert (outcome["frechet_inception_distance"].lost, outcome[""].lost, outcome[""].tied) == (1, 1, 1)
    assert holding(found, "ours", benchmark.styles())["kept"] == (0, 2)


def test_nothing_done_and_ablations_are_shown_as_such(bench, tmp_path):
    more = "ablations: {styles: [disney], seeds: [2], variants: {no-range: {note: a | b, set: [losses.range=0.0]}}}"
    benchmark = load_benchmark(bench(more=more))
    cells = plan(benchmark, tmp_path / "none")
    ablated, = (cell for cell in cells if cell.method == "ablation-no-range")
    assert ablated.run.losses.range == 0 and ablated.run.generator.batch == 1          # over ours
    text = markdown(benchmark, Results({cell.key: cell.record() for cell in cells}), None, "bash it.sh")
    assert "**0 of 13 cells" in text and "| `no-range` |" in text and "a \\| b" in text and "No cell is done." in text
    assert "| no-range |" not in text
    _, found = results(bench, tmp_path,
                       lambda records: records.update({("ablation-no-range", "disney", 2): made_up(0.25)}), more=more)
    assert "| no-range | 25.0 | 0.25 |" in markdown(benchmark, found, None, "bash it.sh")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """Anchors and one trained cell of the demo world, through the command."""
    folder, path = tmp_path_factory.mktemp("real"), ROOT / CLIP
    text = BENCH.format(steps=1, more="sheet: {columns: 3}", suite=path).replace("disney, ukiyo-e",
                                                                                 "disney").replace("[2, 3]", "[2]")
    (folder / "bench.yaml").write_text(text)
    assert cli.main(command(folder, "--only", "source,truth,nada")) == 0
    return folder


def command(folder: Path, *words: str) -> list[str]:
    return ["benchmark", "--config", str(folder / "bench.yaml"), "--output", str(folder / "cells"), "--write",
            str(folder / "docs/report.md"), *words]


def test_a_real_cell(real):
    cells = {name: real / "cells" / name / "portraits/disney" for name in ("source", "truth", "nada")}
    record = read_sealed(cells["nada"] / "2" / RECORD, "record")
    source, truth = (read_sealed(cells[name] / RECORD, "record") for name in ("source", "truth"))
    assert set(FIGURES) <= set(record["figures"]) and "demo:clip-local" in record["training"]["weights"]
    assert source["figures"]["kept"] == source["figures"]["structural_consistency_score"] == 1
    assert truth["figures"]["judge"] > 0.9 and truth["figures"]["shape"] > 0.8
    assert truth["figures"]["way"] == truth["figures"]["sharpness"] == truth["figures"]["diversity"] == 1
    assert source["figures"]["way"] == 0 and source["figures"]["shape"] < 0.1
    assert "psnr" not in truth["figures"]                # infinite
    assert truth["figures"]["frechet_inception_distance"] < record["figures"]["frechet_inception_distance"]
    assert record["training"]["steps_generator"] == 1 and set(record["attributes"]["hair"]) == {"kept", "meant"}
    assert not (cells["nada"] / "2/checkpoints").exists() and (cells["nada"] / "2/generator.safetensors").is_file()


def test_a_real_cell_is_reported_and_not_done_again(real, capsys):
    before = (real / "cells/nada/portraits/disney/2" / RECORD).stat().st_mtime_ns
    assert cli.main(command(real, "--only", "source,truth,nada")) == 0
    assert "3 of 3 cells are done" in capsys.readouterr().err
    assert (real / "cells/nada/portraits/disney/2" / RECORD).stat().st_mtime_ns == before
    text = (real / "docs/report.md").read_text()
    assert text.splitlines()[2].startswith("Features of the demo judge") and "missing: ours disney 2." in text
    assert 0 < (real / "docs/report-sheet.png").stat().st_size <= 300_000
    assert (real / "cells/sheets/disney.png").is_file()


def test_real_weights_withhold_what_needs_the_truth(bench, tmp_path):
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.weights.generator import save_generator
    save_generator(Generator(GeneratorConfig(32, style_dim=32, n_mlp=2, channels={4: 12, 8: 12, 16: 8, 32: 8}),
                             np.random.default_rng(1)),
                   tmp_path / "generator.safetensors")
    for number in range(3):
        save_png(tmp_path / f"references/{number}.png",
                 np.random.default_rng(number).uniform(-1, 1, (3, 40, 32)).astype(np.float32))
    suite = tmp_path / "suite.yaml"
    suite.write_text(Path(CLIP).read_text().replace("demo:generator", str(tmp_path / "generator.safetensors")))
    path = bench(suite=str(suite),
                 change=lambda t: t.replace("title: portraits", f"references: {{disney: {tmp_path}/references}}"))
    cells = plan(load_benchmark(path), tmp_path / "cells")
    assert quiet(chosen(cells, "source"), tmp_path).done == 2
    with_references, without = (json.loads((cell.folder / RECORD).read_text())["figures"] for cell in cells[:2])
    assert not {"judge", "structure", "kept", "meant", "way", "psnr", "shape"} & set(with_references)
    assert "frechet_inception_distance" in with_references and "frechet_inception_distance" not in without
    assert "intra_cluster_lpips" in without
