"""Texts in many scripts to compare tokenizers on: nasty ones, sentences, and seeded random ones.

Random texts hold only characters that Unicode 3.2 knows: the Rust library's tables are of Unicode 9 and later, JDK 17's
of Unicode 13 and Android 8's of Unicode 9, and what one of them has not assigned may be split and normalized
differently. What came later and matters (emoji with skin tones, flags) is written out.
"""

# ruff: noqa: RUF001
import json
import os
import random
import unicodedata
from pathlib import Path

BLOCKS = {
    "latin": [(0x20, 0x7E)],
    "latin-1": [(0xA0, 0xFF)],
    "latin-extended": [(0x100, 0x24F), (0x1E00, 0x1EFF)],
    "combining": [(0x61, 0x7A), (0x300, 0x36F)],
    "greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "cyrillic": [(0x400, 0x4FF)],
    "armenian-georgian": [(0x531, 0x587), (0x10D0, 0x10F8)],
    "hebrew": [(0x591, 0x5F4)],
    "arabic": [(0x600, 0x6FF), (0xFB50, 0xFDFB), (0xFE70, 0xFEFC)],
    "devanagari": [(0x900, 0x970)],
    "tamil-telugu": [(0xB82, 0xBF2), (0xC01, 0xC6F)],
    "thai": [(0xE01, 0xE5B)],
    "tibetan": [(0xF00, 0xFCF)],
    "hangul": [(0x1100, 0x11F9), (0xAC00, 0xD7A3)],
    "kana": [(0x3041, 0x30FE), (0xFF61, 0xFF9F)],
    "cjk": [(0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0x20000, 0x200FF), (0x3000, 0x303F), (0xF900, 0xFA2D)],
    "fullwidth": [(0xFF01, 0xFFEE), (0x3200, 0x33FE)],
    "math": [(0x2200, 0x22FF), (0x2100, 0x218F), (0x1D400, 0x1D7FF), (0x2070, 0x208E)],
    "symbols": [(0x2190, 0x21FF), (0x2500, 0x27BE), (0x2010, 0x205F), (0x20A0, 0x20EA), (0xFB00, 0xFB06)],
    "controls": [(0x0, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x2028, 0x202E), (0xFEFF, 0xFEFF), (0xFFFD, 0xFFFD)],
}
SPACES = [" "] * 12 + [
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u1680",
    "\u2028",
    "\u0085",
]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "❤️", "☎", "1️⃣", "👨🏿‍🚀", "©️", "🤷🏻‍♀️"]
NASTY = [
    "", " ", "   ", "\t", "\n", "\r\n", " \n ", "\u00a0", "\u3000", "a", " a", "a ", "  a  b  ", "\0", "a\0b",
    "\x01\x02x\x7f", "a" * 99, "a" * 100, "a" * 101, "x" * 3000, "ab" * 700, "é" * 120, "💥" * 60, " " * 200,
    "\n" * 50, "don't won't I'LL he'S " "we'RE ſ'ſ K'K", "'ſ 'S 's 'Ll",
    "line one\r\nline two\rline three\n\n\nend", "tab\tand\ttabs\t\t", "\u0301", "\u0301\u0302a", "e\u0301",
    "e\u0323\u0301", "e\u0301\u0323", "\u0344\u0323", "a\u0315\u0300\u05ae\u0062", "\u1100\u1161\u11a8", "각\u11a8",
    "\u0b47\u0b3e", "\u212b Å Å", "ﬁﬂﬃ ſt ⅷ ½ ② ㎏ ﷺ", "１２３ ＡＢＣ ｶﾞ", "İstanbul I ı ß ẞ ΑΣ", "ﬀ\u0301",
    "\u0041\u030a\u0327", "१२३ ٣٤٥ ⅣⅫ ①②", "1234567890 3.14159 1,000,000 12th", "a_b-c/d\\e|f",
    "hello...world!!!???", "(nested [brackets {here}])", "“quotes” ‘single’ «fr»", "``quoted'' text",
    "http://example.com/path?x=1&y=2#frag", "user@example.com", "snake_case camelCase PascalCase",
    "def f(x):\n    return x ** 2  # comment\n", "<b>html</b> &amp; entities", "$100 €50 £20 ¥10", "C++ C# F♯",
    "🤗" + "\u200d" + "x", "a\u200db\u200cc", "\u202ertl\u202c", "zero\u200bwidth", "soft\u00adhyphen", "\ufeffbom",
    "\ufffd", "\ue000 private", "日本語テキスト", "中文 and English混ざる한국어", "สวัสดีครับ", "नमस्ते दुनिया",
    "क्षत्रिय", "مرحبا بالعالم", "שָׁלוֹם עוֹלָם", "Zalgo: Z̷̢͓a̸̛͜l̵̡g̶͘o", "▁ ▁a a▁b", "Ġ Ċ",
    "<s> [CLS] </s> [MASK] <mask> <unk>", "<0x41> <0xE2><0x82><0xAC>", "##ing ##", "a ##b", "\u1e9b\u0323",
    "c\u0327\u0301 ḉ", "½\u0301", "\u00bd\u200d", "\r\u0301", "…\u0300 ™\u0300",
]  # fmt: skip
SENTENCES = [
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "Transfer $250.00 to my savings account by 5:30pm, please.",
    "Der Fuß-Ärger über größere Übel bleibt; daß es so ist!",
    "L'élève où ça coûte déjà très cher, n'est-ce pas ?",
    "El niño pingüino comió ñoquis en España. ¿Qué pasó?",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Zażółć gęślą jaźń; pchnąć w tę łódź jeża.",
    "Pijamalı hasta yağız şoföre çabucak güvendi. IŞIK ılık İĞNE",
    "Tiếng Việt có nhiều dấu thanh: ấ ầ ẩ ẫ ậ.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΟΔΥΣΣΕΥΣ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Щастям б'єш жук їх глицю в фон й ґедзь пріч.",
    "აბგდ ევზთ იკლმ ნოპჟ",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "いろはにほへと ちりぬるを わかよたれそ つねならむ",
    "東京は日本の首都であり、人口は約1,400万人です。",
    "我能吞下玻璃而不伤身体。北京是中国的首都,人口两千多万。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "தமிழ் எழுத்துக்கள் அழகானவை",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β = ¬(¬α ∨ β), ℕ ⊆ ℕ₀ ⊂ ℤ, 𝒳 = 𝟙",
    "Emoji 😀👍🏽 family 👩‍👩‍👧‍👦 flags 🇩🇪🇯🇵 heart ❤️ done.",
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }",
    '{"name": "value", "list": [1, 2.5, -3e10], "ok": true}',
]


def texts(random_count: int = 1900, *, seed: int = 7) -> list[str]:
    rng = random.Random(seed)
    return [*NASTY, *SENTENCES, *shared_sentences(rng), *(random_text(rng) for _ in range(random_count))]


def random_text(rng: random.Random) -> str:
    blocks = rng.sample(sorted(ALPHABETS), rng.randint(1, 3))
    words = [
        "".join(rng.choices(ALPHABETS[rng.choice(blocks)], k=rng.randint(1, 9))) for _ in range(rng.randint(1, 10))
    ]
    if rng.random() < 0.2:
        words.insert(rng.randrange(len(words) + 1), rng.choice(EMOJI))
    if rng.random() < 0.5:
        words.extend(rng.choice(SENTENCES).split()[: rng.randint(1, 6)])
    return "".join(part for word in words for part in (word, rng.choice(["", *SPACES])))


def shared_sentences(rng: random.Random) -> list[str]:
    """Real ones where SLM_EXPORT_SHARED says they are: 100 paragraphs and 100 lines."""
    folder = os.environ.get("SLM_EXPORT_SHARED")
    if folder is None:
        return []
    pages = json.loads((Path(folder) / "data/xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [p["context"] for page in pages for p in page["paragraphs"]]
    lines = (Path(folder) / "data/wikitext2_raw/wiki.test.raw").read_text(encoding="utf-8").splitlines()
    return [*rng.sample(paragraphs, 100), *rng.sample([line for line in lines if line.strip()], 100)]


def assigned(ranges: list[tuple[int, int]]) -> list[str]:
    everything = [chr(point) for first, last in ranges for point in range(first, last + 1)]
    return [char for char in everything if unicodedata.ucd_3_2_0.category(char) not in ("Cn", "Cs")]


ALPHABETS = {name: assigned(ranges) for name, ranges in BLOCKS.items()}
