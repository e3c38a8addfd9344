"""The shell scripts and the whole way of a suite, on tiny networks, with stand-ins for what is installed."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jittor_ipl import cli
from tests.tiny_networks import write_networks, write_suite

ROOT = Path(__file__).resolve().parents[1]
BASH = shutil.which("bash")
SCRIPTS = ["train_all.sh", "scripts/train_text_unet.sh", "scripts/train_text_unet_vae.sh", "scripts/run_tests.sh",
           "scripts/release.sh", "scripts/setup.sh", "scripts/cluster_check.sh",
           "scripts/benchmark_adaptation.sh", ".ci/run"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_are_strict(script):
    subprocess.run([BASH, "-n", str(ROOT / script)], check=True)
    text = (ROOT / script).read_text()
    assert script in ("scripts/setup.sh", ".ci/run") or "set -euo pipefail" in text


def test_requirements_are_pinned_and_say_why():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-ui.txt", "requirements-cluster.txt"):
        lines = (ROOT / name).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins and all("==" in pin for pin in pins)
        assert lines[0].startswith("#") and sum(line.startswith("# ") for line in lines) > 2


def test_every_file_of_the_package_is_packed():
    packed, = (line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith('"*" = ['))
    files = [path for path in (ROOT / "jittor_ipl").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in files} >= {".safetensors", ".txt", ".yaml"}
    assert all(f'"*{path.suffix}"' in packed for path in files if path.suffix != ".py")
    assert (ROOT / "configs").resolve() == ROOT / "jittor_ipl/config/suites"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the scripts without the package, and an "active environment" whose python records its calls."""
    for name in ("train_all.sh", "requirements.txt", "requirements-dev.txt", "requirements-ui.txt",
                 "requirements-cluster.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "env/bin").mkdir(parents=True)
    python = tmp_path / "env/bin/python"
    python.write_text(f'#!/bin/bash\n[[ "$1" == -c || "$1" == --version ]] && exec {sys.executable} "$@"\n'
                      f'echo "$@" >> {tmp_path}/calls\n[[ "$*" != *"$FAIL"* || -z "$FAIL" ]]\n')
    python.chmod(0o755)
    return tmp_path


def bash(checkout: Path, script: str, *arguments: str, cwd: Path | None = None,
         **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "VIRTUAL_ENV": str(checkout / "env")}
    return subprocess.run([BASH, script, *arguments], cwd=cwd or checkout, env={**environment, **variables},
                          capture_output=True, text=True)


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines()


def test_run_tests_installs_once_and_is_quiet_then(checkout):
    first = bash(checkout, "scripts/run_tests.sh", "-k", "cli")
    assert first.returncode == 0 and "installing" in first.stderr
    assert calls(checkout) == [
        "-m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt "
        "-r requirements-ui.txt -r requirements-cluster.txt",
        "-m pytest -k cli"]
    second = bash(checkout, "scripts/run_tests.sh")
    assert (second.stdout, second.stderr) == ("", "") and calls(checkout)[2:] == ["-m pytest"]
    with open(checkout / "requirements-dev.txt", "a") as file:
        file.write("# changed\n")
    assert "installing" in bash(checkout, "scripts/run_tests.sh").stderr


def test_a_failed_installation_is_told_and_tried_again(checkout):
    failed = bash(checkout, "scripts/run_tests.sh", FAIL="pip install")
    assert failed.returncode == 2 and "error: pip could not install" in failed.stderr
    assert "-m pytest" not in calls(checkout)
    assert "installing" in bash(checkout, "scripts/run_tests.sh").stderr


def test_train_all_passes_its_variables_on(checkout):
    done = bash(checkout, "train_all.sh", SUITE="configs/ffhq.yaml", STYLES="disney, wall painting", METHOD="nada",
                GPUS="0,1")
    assert done.returncode == 0, done.stderr
    assert calls(checkout)[-2:] == [
        "-m jittor_ipl doctor --quiet --deep",
        "-m jittor_ipl train-all --config configs/ffhq.yaml --styles disney, wall painting --method nada --gpus 0,1"]


def test_the_method_lora_has_a_suite_of_its_own(checkout):
    for suite, variables in (("demo_lora", {}), ("configs/jittor_b.yaml", {"SUITE": "configs/jittor_b.yaml"})):
        assert bash(checkout, "train_all.sh", METHOD="lora", **variables).returncode == 0
        assert calls(checkout)[-1] == f"-m jittor_ipl train-all --config {suite} --styles  --method lora --gpus "


def test_the_scripts_of_the_original_are_train_all_with_their_settings(checkout):
    done = bash(checkout, "scripts/train_text_unet.sh", "--set", "seed=3", STYLES="05", LR_UNET="9e-5", BASE="models/x",
                LORA_RANK="8", NAME="a-laptop-under-WSL", RANK="0")
    assert done.returncode == 0, done.stderr
    assert "jittor_b, with " in done.stderr and "lora.rank=8" in done.stderr
    assert calls(checkout)[-1] == (
        '-m jittor_ipl train-all --config jittor_b --styles 05 --method lora --gpus  --set=suite="jittor_b-text-unet" '
        "--set=lora.feature.on=false --set=base=models/x --set=lora.rank=8 --set=lora.lr_unet=9e-5 --set seed=3")
    done = bash(checkout, "scripts/train_text_unet_vae.sh", SUITE="demo_lora", LR_FEATURE="1e-3")
    assert done.returncode == 0, done.stderr
    assert calls(checkout)[-1].endswith('--set=suite="demo_lora-text-unet-vae" --set=lora.feature.on=true '
                                        "--set=lora.feature.lr=1e-3")


def test_train_all_counts_paths_from_where_the_user_stands(checkout, tmp_path_factory):
    here = tmp_path_factory.mktemp("elsewhere")
    (here / "mine.yaml").touch()
    for suite in ("mine.yaml", "demo", "configs/demo.yaml"):
        done = bash(checkout, str(checkout / "train_all.sh"), cwd=here, SUITE=suite)
        assert done.returncode == 0, done.stderr
        assert calls(checkout)[-1] == f"-m jittor_ipl train-all --config {suite} --styles  --method  --gpus "
    assert not (here / ".venv").exists() and not list(here.glob(".jittor*"))


@pytest.mark.parametrize("variables, told", [
    ({"SUITE": "none.yaml"}, "no suite file none.yaml"),
    ({"SUITE": "configs/dmo.yaml"}, "no suite file configs/dmo.yaml"),
    ({"STYLES": " , "}, "STYLES=' , ' names no style"), ({"METHOD": "nadaa"}, "unknown METHOD 'nadaa'"),
    ({"GPUS": "a,b"}, "GPUS='a,b' is not a list of numbers")])
def test_train_all_tells_mistakes_before_anything_is_installed(checkout, variables, told):
    stopped = bash(checkout, "train_all.sh", **variables)
    assert stopped.returncode == 2 and told in stopped.stderr and stopped.stderr.count("\n") == 1
    assert not (checkout / "calls").exists()


def test_a_machine_that_is_not_ready_stops_train_all(checkout):
    stopped = bash(checkout, "train_all.sh", FAIL="doctor")
    assert stopped.returncode == 2 and "train-all" not in " ".join(calls(checkout))


def test_a_missing_compiler_is_one_line_with_the_remedy(checkout):
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cut", "dirname", "sha256sum", "tr", "env"):
        (tools / name).symlink_to(shutil.which(name))
    stopped = bash(checkout, "train_all.sh", PATH=str(tools))
    assert stopped.returncode == 2
    assert stopped.stderr.count("\n") == 1 and "apt-get install -y g++" in stopped.stderr


def test_missing_headers_and_venv_are_named_together(checkout):
    python = checkout / "python"
    python.write_text('#!/bin/bash\n[[ "$*" == *Python.h* || "$*" == *ensurepip* ]] && exit 1\n'
                      f'exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    stopped = bash(checkout, "scripts/run_tests.sh", VIRTUAL_ENV="", PYTHON=str(python))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert stopped.returncode == 2
    assert stopped.stderr == "error: missing: Python's headers, Python's venv module. " \
                             f"Install with: sudo apt-get install -y {version}-dev {version}-venv\n"
    assert not (checkout / ".venv").exists()


TINY = """
suite: tiny
source: {{class: photo, generator: "{folder}/generator.safetensors", mean_latent_samples: 32}}
clip: [{{model: "{folder}/clip.safetensors"}}]
mapper: {{steps: 1, batch: 2}}
generator: {{steps: 2, batch: 1}}
generate: {{seeds: 0-1}}
run: {{samples: 0, tensorboard: false}}
styles: [disney, {{name: cubism, source: {{generator: "{folder}/none.safetensors"}}}}, cartoon]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with a tiny random generator, a tiny random CLIP and a suite whose second style cannot work."""
    folder = write_networks(tmp_path_factory.mktemp("tiny"), size=16)
    write_suite(folder, TINY)
    return folder


def train_all(folder: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "jittor_ipl", "train-all", "--config", "suite.yaml", *options],
                          cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def test_train_all_goes_the_whole_way_past_a_style_that_fails(tiny):
    done = train_all(tiny)
    assert done.returncode == 1, done.stderr
    assert "failed: cubism (" in done.stderr and "none.safetensors" in done.stderr, done.stderr
    lines = {line[:6]: line.split() for line in done.stdout.splitlines() if line[:6] in ("disney", "cubism", "cartoo")}
    assert lines["disney"][-1] == lines["cartoo"][-1] == "yes" and "not finished" in " ".join(lines["cubism"])
    assert (tiny / "results/tiny/sheet.png").is_file()
    again = train_all(tiny, "--styles", "disney,cartoon")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before") == 2 and "0 pictures made, 4 kept" in again.stdout


def test_another_method_gets_folders_of_its_own(tiny):
    done = train_all(tiny, "--styles", "disney", "--method", "nada")
    assert done.returncode == 0, done.stderr
    assert (tiny / "runs/tiny-nada/00-disney/generator.safetensors").is_file()
    assert (tiny / "results/tiny-nada/00/seed0001.png").is_file()


def test_words_that_no_suite_lists_go_the_whole_way(tiny, monkeypatch, capsys):
    done = train_all(tiny, "--styles", "zombie")
    assert done.returncode == 0, done.stderr
    assert "note: the suite 'tiny' does not list 'zombie'" in done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("zombie ")] == ["yes"]
    folder, = (tiny / "runs/tiny").glob("*-zombie")
    assert (tiny / "results/tiny" / folder.name[:6] / "seed0001.png").is_file()
    monkeypatch.chdir(tiny)
    assert cli.main(["generate", "--weights", str(folder), "--seeds", "7", "--outdir", "out"]) == 0
    assert cli.main(["summary", "--config", "suite.yaml"]) == 0
    table = capsys.readouterr().out
    assert "cubism" in table
    assert [line.split()[-1] for line in table.splitlines() if line.startswith("zombie ")] == ["yes"]
    assert cli.main(["summary", "--config", "suite.yaml", "--style", "zombie", "--json"]) == 0
    assert [row["style"] for row in json.loads(capsys.readouterr().out)] == ["zombie"]
