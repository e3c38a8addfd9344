"""The command line: light, forgiving about spelling, one line and an exit code for every mistake."""
from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jittor_ipl import cli
from jittor_ipl.commands import options, warming
from jittor_ipl.commands.doctor import command as doctor_command
from jittor_ipl.commands.settings import NOTED, REFUSED, SETTINGS
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.runtime import doctor
from jittor_ipl.runtime.requirements import OPTIONAL, requirements_of

ROOT = Path(__file__).resolve().parents[1]


def test_help_is_fast_and_imports_nothing_heavy():
    code = "import sys; from jittor_ipl.cli import main; main(['--help']); main(['adapt', '--help'])\n" \
           "print({'jittor', 'numpy', 'pydantic', 'PIL'} & set(sys.modules))"

    def user_seconds() -> float:
        before = os.times()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("set()\n"), done.stdout[-200:]
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system
    assert min(user_seconds() for _ in range(3)) < 0.4  # processor time: a busy machine must not fail this


@pytest.mark.parametrize("command", [[], ["adapt"], ["generate"], ["verify"], ["train-all"], ["summary"], ["release"],
                                     ["inspect"], ["convert"], ["doctor"]])
def test_every_command_helps_with_examples(command, capsys):
    assert cli.main([*command, "--help"]) == 0 and "examples:\n  python " in capsys.readouterr().out


def test_light_commands_never_import_jittor():
    code = "import sys; from jittor_ipl.cli import main; main(['adapt', '--list']); " \
           "main(['adapt', '--dry-run', '--style', 'disney'])\nsys.exit('jittor' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def dry(monkeypatch, capsys):
    """Return what `adapt --dry-run` resolves its options to."""
    monkeypatch.chdir(ROOT)
    import yaml

    def resolve(*options: str) -> dict:
        assert cli.main(["adapt", "--config", "demo_clip", "--style", "disney", "--dry-run", *options]) == 0
        return yaml.safe_load(capsys.readouterr().out)
    return resolve


@pytest.mark.parametrize("options", [["--learning-rate", "0.01"], ["--learning_rate=0.01"], ["--lr", "1e-2"],
                                     ["--set", "generator.lr=0.01"]])
def test_both_spellings_and_familiar_names(dry, options):
    assert dry(*options)["generator"]["lr"] == 0.01


def test_words_stay_words(dry):
    assert dry("--source_class", "no: 1, [x]")["source"]["class"] == "no: 1, [x]"
    assert dry("--frozen-gen-ckpt", "my_weights/a_b.pt")["source"]["generator"] == "my_weights/a_b.pt"


@pytest.mark.parametrize("command, style, where", [
    ("adapt", "disney", "styles.0 (disney)"), ("adapt", "cubism", "styles.9 (cubism)"),
    ("adapt", "zombie", "the style 'zombie'"), ("train-all", "zombie", "the style 'zombie'")])
def test_what_a_teacher_does_not_read_is_refused_of_the_named_style(command, style, where, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.main([command, "--style", style, "--set", "generator.steps=5"]) == 2
    told = capsys.readouterr().err
    assert f"{where}: a teacher does not read generator.steps: set teacher.pairs.steps or teacher.scores.steps" in told
    assert "such as --set teacher.pairs.steps=5, or choose the method nada or ipl" in told
    assert cli.main(["adapt", "--style", style, "--dry-run", "--set", "teacher.pairs.steps=5"]) == 0
    assert cli.main(["adapt", "--style", style, "--dry-run", "--steps", "5", "--method", "nada"]) == 0


def test_only_ways_that_a_suite_takes_are_named(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for ways, read in (("[pairs]", "teacher.pairs.lr"), ("[dds]", "teacher.scores.lr")):
        assert cli.main(["adapt", "--style", "zombie", "--lr", "0.1", "--set", f"teacher.ways={ways}"]) == 2
        assert f"generator.lr: set {read}, such as --set {read}=0.1, or" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--styles", "disney, cubism"], ["--styles=disney,cubism"],
                                   ["--style", "disney", "--styles", "cubism"],
                                   ["--target_class", "disney", "--style=cubism"]])
def test_styles_are_named_one_by_one_or_as_a_list(words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.main(["adapt", "--list", *words]) == 0
    assert [line.split("\t")[3] for line in capsys.readouterr().out.splitlines()] == ["disney", "cubism"]
    assert cli.main(["adapt", "--list", "--style", "disney,cubism"]) == 2
    assert "did you mean --styles 'disney,cubism'?" in capsys.readouterr().err
    assert cli.main(["adapt", "--list", "--style", "a photo, in oil", "--style", "disney"]) == 0
    assert "\ta photo, in oil\n" in capsys.readouterr().out


def test_whatever_takes_several_styles_knows_both_names():
    for name in cli.COMMANDS:
        options = [option for option in cli.command_named(name).params if "styles" == option.name]
        assert all({"--style", "--styles"} <= set(option.opts) and option.lists == "--styles" for option in options)
        assert options or name not in ("adapt", "dreambooth", "build", "verify", "train-all", "summary", "invert")


def test_set_wins_over_the_familiar_name(dry):
    assert dry("--iter", "5", "--set", "generator.steps=7")["generator"]["steps"] == 7


def test_every_familiar_name_is_a_setting(dry):
    resolved = dry()
    for key, _ in SETTINGS.values():
        place = resolved
        for part in key.split("."):
            assert part in place, key
            place = place[part]


def test_the_published_command_line_of_stylegan_nada(dry, tmp_path, capsys):
    weights = tmp_path / "ViT-B-32.pt", tmp_path / "ViT-B-16.pt"
    for path in weights:
        path.touch()
    found = dry("--size", "1024", "--clip_models", *map(str, weights), "--clip_model_weights", "1.0", "0.5",
                "--n_sample", "16", "--output_dir", "out", "--lr", "0.002", "--auto_layer_k", "18", "--auto_compute")
    expected = [(str(weights[0]), 1.0), (str(weights[1]), 0.5)]
    assert [(clip["model"], clip["weight"]) for clip in found["clip"]] == expected
    assert found["run"]["samples"] == 16 and found["generator"]["auto_layers_k"] == 18


def test_names_without_a_setting_here_say_where_it_lives(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.main(["adapt", "--style", "disney", "--dry-run", "--size", "1024", "--run_stage1"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert [note.split(" ")[1] for note in notes] == ["--size", "--run-stage1"]
    assert cli.main(["adapt", "--style", "disney", "--dry-run", "--sg3"]) == 2
    assert "error: --sg3 is not a setting here: StyleGAN3" in capsys.readouterr().err
    assert cli.main(["adapt", "--dry-run", "--clip-models", "ViT-B/32", "ViT-B/16", "--clip-model-weights", "1"]) == 2
    assert "give one for each" in capsys.readouterr().err
    assert dict.fromkeys(NOTED).keys().isdisjoint(REFUSED)


def test_any_words_name_a_style(monkeypatch, capsys, tmp_path):
    import yaml
    monkeypatch.chdir(tmp_path)
    assert cli.main(["adapt", "--style", "zombie", "--target_class", "oil painting", "--dry-run"]) == 0
    zombie, oil = yaml.safe_load_all(capsys.readouterr().out)
    assert (zombie["style"], zombie["target"], oil["style"]) == ("zombie", "zombie", "oil painting")
    assert 99 < zombie["number"] != oil["number"] > 99
    assert cli.main(["adapt", "--style", "cubism", "--dry-run"]) == 0
    cubism = yaml.safe_load(capsys.readouterr().out)
    assert {**cubism, "style": "zombie", "target": "zombie", "number": zombie["number"]} == zombie
    assert cli.main(["adapt", "--style", "zombie", "--list"]) == 0
    assert capsys.readouterr().out == f"{zombie['number']}\truns/demo/{zombie['number']}-zombie\topen\tzombie\n"
    assert cli.main(["adapt", "--style", "disny", "--dry-run", "--new-style"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("style, listed", [
    ("disny", True), ("disneyy", True), ("cubsim", True), ("ukiyoe", True), ("Anime-Painting", True),
    ("pixer charakter", True),
    ("tolkein elf", True), ("werewolve", True), ("wallpainting", True), ("zombie", False), ("oil painting", False),
    ("cartoon dog", False), ("wolf", False), ("the joker", False), ("a photo of a cat", False), ("sketch", False)])
def test_misspelt_styles_are_asked_about(style, listed, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["adapt", "--style", style, "--list"]) == (2 if listed else 0)
    assert ("did you mean" in capsys.readouterr().err) == listed


def test_shipped_suites_and_weights_are_found_from_anywhere(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["adapt", "--list"]) == cli.main(["adapt", "--list", "--config", "ffhq"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["adapt", "--list", "--config", "configs/demo.yaml"]) == 0
    assert capsys.readouterr().err.startswith("note: there is no configs/demo.yaml here; this is the one that ships, /")
    (tmp_path / "mine.yaml").write_text("suite: mine\nstyles: [a cat]\n")
    assert cli.main(["adapt", "--list", "--config", "mine.yaml"]) == 0
    assert capsys.readouterr().out == "00\truns/mine/00-a-cat\topen\ta cat\n"
    assert options.shipped("B_weight/demo") == str(ROOT / "B_weight/demo")
    assert options.shipped("runs/demo") == "runs/demo"
    (tmp_path / "B_weight").mkdir()
    assert cli.verify([]) == 2 and "error: 'B_weight' holds no finished run" in capsys.readouterr().err


MISTAKES = {
    "a value for a flag": (["adapt", "--restart=1"], "does not take a value"),
    "a value for the help": (["adapt", "--help=1"], "does not take a value"),
    "one word too many": (["adapt", "disney"], "extra argument"),
    "no value": (["adapt", "--style", "--list"], "--style needs a value"),
    "no value at the end": (["adapt", "--lr"], "--lr needs a value"),
    "words that are no folder": (["adapt", "--style", "../x"], "would not stay in the output folder"),
    "a folder that a listed style has": (["adapt", "--style", "Disney", "--new-style"], "would share one folder"),
    "words beyond CLIP": (["adapt", "--style", "dog " * 80, "--list"], "blank"),
    "no styles": (["train-all", "--styles", " , "], "names no style"),
    "unknown suite": (["adapt", "--config", "dmeo"], "did you mean 'demo'"),
    "no command": ([], "required"),
    "unknown command": (["adpat"], "adapt"),
    "unknown option": (["adapt", "--lerning-rate", "1"], "did you mean '--learning-rate'"),
    "unknown style": (["adapt", "--style", "disny"], "did you mean 'disney'"),
    "unknown key": (["adapt", "--set", "generator.stepz=1"], "steps"),
    "missing configuration": (["adapt", "--config", "configs/none.yaml"], "configs/none.yaml"),
    "bad number": (["adapt", "--lr", "-1"], "generator.lr"),
    "missing weights": (["generate", "--weights", "none.pt", "--seeds", "1"], "none.pt"),
    "foreign weights": (["generate", "--weights", "configs/demo.yaml", "--seeds", "1"], "demo.yaml"),
    "seed out of range": (["generate", "--weights", "demo:generator", "--seeds", "4294967296"], "out of range"),
    "truncation out of range": (["generate", "--weights", "demo:generator", "--seeds", "1", "--trunc", "9"], "-2 to 2"),
    "inspect nothing": (["inspect", "demo:genrator"], "did you mean 'generator'"),
    "inspect without a file": (["inspect"], "FILE|FOLDER"),
    "convert nowhere": (["convert", "demo:generator"], "--to"),
    "convert to an unknown dialect": (["convert", "demo:generator", "--to", "out", "--as", "rosinalty"],
                                      "did you mean 'rosinality'"),
    "convert to an unknown type": (["convert", "demo:generator", "--to", "out", "--dtype", "f16"], "bfloat16"),
    "verify nothing": (["verify", "--weights", "nowhere"], "nowhere"),
    "unknown method": (["train-all", "--method", "nadaa"], "did you mean 'nada'"),
    "GPUs that are no numbers": (["train-all", "--gpus", "a,b"], "0,1"),
    "unknown style of train-all": (["train-all", "--styles", "disney,disny"], "did you mean 'disney'"),
}


@pytest.mark.parametrize("argv, told", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_exit_code_2(argv, told, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    before = set(ROOT.iterdir())
    assert cli.main(argv) == 2
    assert set(ROOT.iterdir()) == before
    out = capsys.readouterr()
    assert out.err.startswith("error: ") and out.err.count("\n") == 1 and told in out.err
    assert "Traceback" not in out.err


def raising(error: BaseException):
    def command(_):
        raise error
    return command


@pytest.mark.parametrize("error, code, told", [
    (KeyError("x"), 3, "--debug"), (KeyboardInterrupt(), 130, "stopped"),
    (OSError(28, "No space left on device", "runs/x"), 2, "error: No space left on device: 'runs/x'\n"),
    (OSError(36, "File name too long", "x" * 5000), 2, "xxx…'\n")])
def test_every_way_out_has_its_code(error, code, told, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", raising(error))
    assert cli.main(["doctor"]) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("page, told", [
    ("Wrong inputs arguments, Please refer to examples(help(jt.sync)).\n\nFailed reason:\x1b[38;5;1m"
     "[f 1121 07:18:36.3 28 parallel_compiler.cc:331] Error happend during compilation:\n"
     " [Error] source file location:/x.cc\n\nReason: \x1b[38;5;1m[f 1121 07:18:36.3 28 log.cc:608] "
     "Check failed ret(256) == 0(0) Run cmd failed\x1b[m\n", "Check failed ret(256) == 0(0) Run cmd failed"),
    ("\x1b[31mno memory\x1b[m\n" + "a line of C++\n" * 200, "no memory"), ("x" * 5000, "x" * 299 + "…"), ("", "")])
def test_a_page_of_jittors_is_one_readable_line(page, told, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", raising(RuntimeError(page)))
    assert cli.main(["doctor"]) == 3
    assert capsys.readouterr().err == f"error: internal fault, RuntimeError: {told}{' ' * bool(told)}" \
        "(run again with --debug to see where)\n"


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_checks", raising(KeyError("x")))
    assert cli.main(["--debug", "doctor"]) == 3
    assert "Traceback" in capsys.readouterr().err
    assert cli.main(["doctor", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_what_the_doctor_warms_are_calls_that_the_commands_take(tmp_path, monkeypatch):
    """The calls themselves take minutes where nothing is compiled yet; here each is read and must be understood."""
    for name, arguments in warming.tasks(tmp_path).values():
        command = importlib.import_module(f"jittor_ipl.commands.{name}").command
        taken = []
        monkeypatch.setattr(command, "invoke", lambda context, taken=taken: taken.append(context.params))
        (tmp_path / "pictures").mkdir(exist_ok=True)
        assert command.main(list(arguments), standalone_mode=False) is None and taken, name
    assert {name.partition(".")[0] for name, _ in warming.tasks(tmp_path).values()} <= set(cli.COMMANDS)


@pytest.mark.parametrize("failing", [lambda context: print("no room") or 2, raising(UserError("no room"))])
def test_a_task_that_fails_is_told(failing, monkeypatch):
    monkeypatch.setattr(doctor_command, "invoke", failing)
    with pytest.raises(UserError, match="the kernels of pictures were not all compiled: no room"):
        warming._run("pictures", "doctor", [])


@pytest.mark.parametrize("module, files, named", [
    ("gradio", ["/x/jittor_ipl/webui/serve.py"], "requirements-ui.txt"),
    ("orjson", ["/x/jittor_ipl/webui/serve.py", "/v/site-packages/gradio/utils.py"], "requirements-ui.txt"),
    ("numpy.core.multiarray", ["/x/a.py", "/v/dist-packages/gradio/a.py", "/v/dist-packages/pandas/_libs/a.py"],
     "requirements-ui.txt"),
    ("fsspec", ["/v/site-packages/gradio/a.py"], "requirements-ui.txt"),
    ("fsspec.core", [], "requirements-cluster.txt"),
    ("ray", ["/x/jittor_ipl/jobs/ray_engine.py"], "requirements-cluster.txt"),
    (None, ["/v/site-packages/imageio_ffmpeg/__init__.py"], "requirements-video.txt"),
    (None, ["/v/site-packages/PIL/Image.py"], "requirements.txt"), ("pandas_like", [], "requirements.txt")])
def test_the_file_of_a_package_is_named(module, files, named):
    assert requirements_of(module, files) == named and (ROOT / named).is_file()


def test_every_optional_package_is_known_by_its_file():
    """dlib-bin is imported as dlib; what requirements.txt pins, too, belongs to that."""
    def pinned(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {line.split("==")[0].replace("-", "_").removesuffix("_bin") for line in lines
                if "==" in line and not line.startswith("#")}
    for file, packages in OPTIONAL.items():
        assert pinned(file) - pinned("requirements.txt") == set(packages), file


def test_a_package_that_does_not_load_names_its_cure(capsys, monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "pandas"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(doctor, "run_checks", lambda deep: importlib.import_module("pandas"))
    assert cli.main(["doctor"]) == 2
    told = capsys.readouterr().err.strip()
    assert "pandas/__init__.py" in told and told.endswith("pip install --force-reinstall -r requirements-ui.txt")


def told_to_stop(number: int) -> int:
    signal.raise_signal(number)
    return 0


def trained_until(number: int) -> int:
    with StopOnSignal() as stop:
        signal.raise_signal(number)
        stop.raise_if_received()
    return 0


@pytest.mark.parametrize("task", [told_to_stop, trained_until])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_warming_that_is_stopped_says_what_stays(task, number, monkeypatch, capfd):
    """Whether the task trains, and would save, or not: of checkpoints there is nothing to say here."""
    before = signal.getsignal(number)
    monkeypatch.setattr(doctor_command, "invoke", lambda context: task(number))
    monkeypatch.setattr(warming, "tasks", lambda folder: {"pictures": ("doctor", []), "edits": ("doctor", [])})
    with pytest.raises(SystemExit) as stopped:
        warming.warm()
    told = capfd.readouterr().err
    assert stopped.value.code == 128 + number and signal.getsignal(number) is before
    assert told.endswith("stopped: the kernels compiled so far stay; doctor --warm goes on with the others\n")
    assert "saving" not in told and told.count("stopped") == 1


def test_doctor_prints_each_finding(capsys):
    assert cli.main(["doctor"]) in (0, 1)
    assert "python" in capsys.readouterr().out


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "jittor_ipl", "--version"], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.startswith("jittor_ipl ")


def test_a_missing_package_names_its_cure(capsys, monkeypatch):
    def missing(deep):
        raise ModuleNotFoundError("No module named 'PIL'", name="PIL")
    monkeypatch.setattr(doctor, "run_checks", missing)
    assert cli.main(["doctor"]) == 2
    told = capsys.readouterr().err.strip()
    assert "'PIL'" in told and "requirements.txt" in told and "\n" not in told
