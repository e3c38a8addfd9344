"""Lists of prompts: those that ship, what a list may hold, and the command that checks one."""
from __future__ import annotations

from collections import Counter

import pytest

from jittor_ipl import cli
from jittor_ipl.config import load_suite, prompts_of
from jittor_ipl.errors import UserError
from jittor_ipl.text import prompt_lists as prompts
from jittor_ipl.text import questions as variations
from jittor_ipl.text.tokenizer import fill_templates, tokenize

STYLES = ["disney", "anime painting", "wall painting", "ukiyo-e", "pixar character", "tolkien elf", "werewolf",
          "cartoon", "pointillism", "cubism"]


def shipped(style: str) -> list[prompts.Prompt]:
    return prompts.read_prompts(prompts.list_path(prompts.SHIPPED, style), style)


def told(path, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        prompts.read_prompts(path, **keywords)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("style", STYLES)
def test_sixty_different_prompts_ship_that_clip_can_read(style):
    listed = shipped(style)
    assert len(listed) == prompts.COUNT
    assert tokenize(prompts.fill(listed, style)).shape == (60, 77)
    assert all(len(prompt.tokens) >= 4 for prompt in listed)


def test_no_prompt_stands_in_two_lists_and_none_is_a_template():
    texts = Counter(text.lower() for style in STYLES for text in prompts.fill(shipped(style), "face"))
    assert len(texts) == 600 and not set(texts) & {text.lower() for text in fill_templates("face")}
    assert sorted(prompts.shipped_styles()) == sorted(style.replace(" ", "-") for style in STYLES)


@pytest.mark.parametrize("style", STYLES)
def test_the_prompts_of_a_list_vary(style):
    texts = [prompt.text.lower().split() for prompt in shipped(style)]
    starts = Counter(" ".join(words[:3]) for words in texts)
    lengths = {len(words) for words in texts}
    print(f"{style}: commonest start {starts.most_common(1)}, lengths {sorted(lengths)}")
    assert starts.most_common(1)[0][1] <= 4 and len(lengths) >= 6
    closest = max((len(set(a) & set(b)) / len(set(a) | set(b)), a, b) for i, a in enumerate(texts) for b in texts[:i])
    assert closest[0] < 0.6, closest


def test_the_demo_list_speaks_only_words_that_the_demo_clip_knows():
    from jittor_ipl.weights.clip import load_clip
    known = set(load_clip("demo:clip-local").known_tokens.tolist())
    for style in STYLES:
        listed = prompts.read_prompts(prompts.list_path("demo", style), style)
        assert len(listed) == 60 and [p.text for p in listed if not set(p.tokens) <= known] == []


def test_a_list_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff# comment\r\na {} face  \r\n\ta face in Öl\r\n#a {} face\r\n".encode())
    assert prompts.fill(prompts.read_prompts(path, "disney"), "disney") == ["a disney face", "a face in Öl"]
    assert [prompt.line for prompt in prompts.read_prompts(path)] == [2, 3]


@pytest.mark.parametrize("content, message", [
    (b"a face\n\nan eye\n", "line 2 is empty"),
    (b"a face\nan eye\nA  FACE\n", "line 3 repeats line 1"),
    (b"# only\n", "holds no prompt"), (b"", "holds no prompt"),
    (b"a face\n" + b"word " * 80, "line 2 has 80 tokens, CLIP reads 75"),
    (b"x " * 1500, "line 1: prompt"),
    (b"a {style} face\n", "line 1: 'a {style} face' has a brace"),
    (b"a face\n\xff\xfe\n", "line 2 is not UTF-8"),
    (b"a\x07face\n", "line 1: prompt"),
    (b"<|endoftext|>\n", "CLIP's own marker"),
    (b"a face\n" * 60_000, "larger than 256 KiB"),
    (b"\n".join(b"face %d" % i for i in range(1001)), "more than 1000 prompts"),
])
def test_a_list_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    assert message in told(tmp_path / "list.txt")


def test_a_long_name_is_counted_and_a_missing_file_named(tmp_path):
    (tmp_path / "list.txt").write_text("a {} face\n")
    assert "line 1 has" in told(tmp_path / "list.txt", target="word " * 76)
    assert "did you mean" in told(tmp_path / "lst.txt") and "is not a file but a folder" in told(tmp_path)


def suite(tmp_path, mapper: str, styles: str = "[disney]"):
    path = tmp_path / "suite.yaml"
    path.write_text(f"suite: demo\nmapper: {mapper}\nstyles: {styles}\n")
    return load_suite(path)


def test_each_style_may_have_a_list_of_its_own(tmp_path):
    (tmp_path / "own.txt").write_text("one {} prompt\n")
    runs = suite(tmp_path, "{lambda_prompts: 0.2, prompts: shipped}",
                 f"[disney, {{name: cubism, mapper: {{prompts: {tmp_path}/own.txt}}}}]").runs()
    assert len(prompts_of(runs[0])) == 60 and prompts_of(runs[1]) == ["one cubism prompt"]
    assert prompts_of(suite(tmp_path, "{prompts: shipped}").runs()[0]) == []       # weight 0: nothing is read


@pytest.mark.parametrize("mapper, styles, message", [
    ("{lambda_prompts: 0.2}", "[disney]", "lambda_prompts needs a list"),
    ("{lambda_prompts: 0.2, prompts: shipped}", "[disny]",
     "styles.0 (disny): no list of prompts ships for 'disny' (did you mean 'disney'?)"),
    ("{lambda_prompts: 0.2, prompts: nowhere.txt}", "[disney]", "cannot read the list of prompts 'nowhere.txt'"),
    ("{lambda_prompts: -1, prompts: shipped}", "[disney]", "mapper.lambda_prompts"),
    ("{replace_domain: true}", "[disney]", "replace_domain without lambda_prompts"),
    ("{architecture: levls}", "[disney]",
     "mapper.architecture: input should be 'ipl', 'transformer_v1', 'transformer_v2', "
     "'transformer_v3' or 'levels' (given: 'levls') (did you mean 'levels'?)"),
    ("{architecture: levels, n_ctx: 2, init: a photo}", "[disney]", "at least 3 prompt vectors"),
    ("{mixing: 1.5}", "[disney]", "mapper.mixing"),
    ("{prompt: shipped}", "[disney]", "unknown key 'prompt' (did you mean 'prompts'?)"),
])
def test_mistakes_in_a_suite(tmp_path, mapper, styles, message):
    with pytest.raises(UserError) as caught:
        suite(tmp_path, mapper, styles)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_command(tmp_path, capsys):
    assert cli.main(["prompts", "check", "shipped", "--style", "ukiyo-e"]) == 0
    out = capsys.readouterr().out
    assert "60 prompts, all different" in out and "note" not in out
    (tmp_path / "answer.txt").write_text("".join(f'{i}. "A disney face with {word} eyes",\n'
                                                 for i, word in enumerate(("big", "blue", "kind", "wide", "calm"), 1)))
    assert cli.main(["prompts", "check", str(tmp_path / "answer.txt"), "--style", "cubism"]) == 0
    notes = [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [note.split()[1] for note in notes] == ["5", "line", "line", "no"]
    assert cli.main(["prompts", "list"]) == 0 and "tolkien-elf" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["check", "nowhere.txt"], "cannot read the list of prompts"), (["check"], "required: FILE"),
    ([], "required: ACTION"),
    (["chek", "x"], "chek"), (["check", "shipped"], "add --style NAME"),
    (["check", "demo", "--stile", "disney"], "did you mean '--style'?")])
def test_mistakes_at_the_command_are_told_in_one_line(arguments, message, capsys):
    assert cli.main(["prompts", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", variations.SHIPPED)
def test_the_shipped_questions_are_asked_of_every_class(name):
    questions = variations.read_variations(variations.variations_path(name), ("photo", "anime painting"))
    assert len(questions) >= 8 and all(len(answers) > 1 for answers in questions)


@pytest.mark.parametrize("line,told", [
    ("a {} cat", "line 2: a question has 2 to 20 different answers"),
    ("a {} cat | a {} cat", "line 2: a question has 2 to 20"),
    ("a {} cat | a dog", "line 2: 'a dog' has no {}"), ("a {} cat |", "2 to 20 different answers|has no"),
    ("a {} cat | a {} {} dog }", "brace"), ("# only a remark", "asks nothing")])
def test_questions_that_cannot_be_asked_are_told_by_their_line(tmp_path, line, told):
    path = tmp_path / "questions.txt"
    path.write_text(f"# what stays\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=told):
        variations.read_variations(path, ("photo",))
