"""Record token ids of odd strings with OpenAI's own tokenizer into tests/golden/tokens.json.

Run in an environment with openai-clip==1.0.1, ftfy and regex: `python tests/parity/record_tokens.py`.
The package itself is not imported (that needs PyTorch and torchvision), only its tokenizer file.
"""
from __future__ import annotations

import importlib.util
import json
import random
import unicodedata
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "tokens.json"

WRITTEN = [
    "", " ", "a", "A", "I'm", "we're they'll it's don't I'd you've", "IT'S I'LL WE'RE", "'s 't 're", "o'clock's", "''s",
    "it`s",
    "a photo of a disney", "a photo of a anime painting.", "X X X X tolkien elf.", "Ukiyo-e", "ukiyo_e",
    "pixar   character",
    "\ttabs\tand\nnew lines\r\n", " no-break\u00a0space ", "thin\u2009space\u3000ideographic",
    "zero\u200bwidth\u200djoiner",
    "浮世绘风格的肖像", "動漫畫", "アニメの絵", "애니메이션 그림", "شخصية كرتونية", "דיוקן", "портрет в стиле аниме",
    "ΑΒΓ αβγ ς Σ", "ภาพวาด",
    "चित्र",
    "café crème brûlée", "cafe\u0301", "naïve façade", "Ångström Åse", "İstanbul ıI", "straße STRASSE ẞ", "ﬁne ﬂuﬀy",
    "Ⅷ ½ ² ₃ ①", "ſ'ſ long s",
    "🎨", "👩‍🎨 painter", "🏳️‍🌈", "🇨🇳 flag", "😀😀😀", "❤️ art ♥", "a🎨b", "†‡•…‰", "“curly” ‘quotes’", "–—―",
    "„low“ «guillemets»",
    "&amp;", "&amp;amp;", "&amp;amp;amp;", "&lt;b&gt;bold&lt;/b&gt;", "&#39;s &#x27;t", "&nbsp;&nbsp;x",
    "&notanentity;", "&", "&#0;", "&#128512;",
    "schÃ¶n", "âœ” No problems", "l’humanitÃ©", "Ã©tÃ© Ã  la plage", "IÃ±tÃ«rnÃ¢tiÃ´nÃ lizÃ¦tiÃ¸n",
    "ＦＵＬＬ　ｗｉｄｔｈ",
    "\x1b[31mred\x1b[0m", "a\x00b", "\x07",
    "\ufeffbom", "soft\u00adhyphen", "\ud83c\udfa8", "\ufffd", "\U000e0041tag", "Z͑ͫ̓ͪ̂ͫ̽a̡l̢go",
    "<|startoftext|>", "<|endoftext|>", "x<|ENDOFTEXT|>y", "<|start of text|>", "<|", "|>", "<>", "<html>",
    "1234567890", "3.14159", "1,000,000", "2023-06-18", "12:30pm", "50%", "$9.99", "C++ C# F#", "a1b2c3", "４２", "٣٤",
    "x²+y²=z²", "1/2",
    "hello,world", "hello ,world", "...", ".....", "!?!?", "!!!", "-- --", "___", "under_score", "a/b\\c",
    "e-mail@example.com",
    "https://example.com/a?b=c&d=e#f", "#hashtag @user", "(round) [square] {curly}", "~`^", "100% \"quoted\" 'single'",
    "aaaaaaaaaaaaaaaaaaaa", "a" * 300, "ab" * 150, "xyz " * 60, "supercalifragilisticexpialidocious",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "éééééééééééééééé", "字" * 90, "🎨" * 60, "." * 200, "- " * 100, "9" * 120, "thethethethe", "llama's'll",
    "CamelCaseWords", "mIxEd CaSe",
]
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "etaoin shrdlu ", "ABC def'", "'stredvlm ", "0123456789 .,", "éèêëàâçñöüß ",
    "абвгд ежз", "的一是不了人我在有他 ",
    "あいうえおアイウ", "🎨🖼️😀👩‍ ", "&;#lgtamp ",
    "<|>endoftxsra", "!?.,-_/()[]{}", "\u0301\u0308aeou", " \t\n\u00a0\u2003x",
    "Ⅷ½²①ﬁ ﬂ",
]


def invented(count: int, seed: int) -> list[str]:
    """Random strings: from one alphabet, from several, and from anywhere in Unicode."""
    rng, texts = random.Random(seed), []
    for i in range(count):
        length = rng.randint(1, 40)
        if i % 3 == 2:
            points = (chr(rng.randrange(0x20, 0x2FFFF if i % 2 else 0x3000)) for _ in range(length))
            texts.append("".join(c for c in points if unicodedata.category(c) not in ("Cs", "Cn", "Co")))
        else:
            letters = rng.choice(ALPHABETS) if i % 3 == 0 else "".join(rng.sample(ALPHABETS, 3))
            texts.append("".join(rng.choice(letters) for _ in range(length)))
    return texts


def main() -> None:
    package = Path(importlib.util.find_spec("clip").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("openai_tokenizer", package / "simple_tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    codec = module.SimpleTokenizer()
    texts = list(dict.fromkeys(WRITTEN + invented(270, seed=7)))
    record = [{"text": text, "ids": codec.encode(text)} for text in texts]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in record)
    GOLDEN.write_text(f"[\n{lines}\n]\n", encoding="ascii")
    print(f"{len(record)} texts -> {GOLDEN}")


if __name__ == "__main__":
    main()
