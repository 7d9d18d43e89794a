"""A precompiled_charsmap as SentencePiece writes them: a Darts double-array trie and the replacements it points to."""

import struct
import unicodedata

from tests.android.tokenizer_texts import ALPHABETS

Trie = dict[int, "Trie | int"]
LEAF, HAS_LEAF = 1 << 31, 1 << 8


def small_charsmap() -> bytes:
    """NFKC, composition and the spaces and controls of nmt_nfkc, for the characters of the test texts."""
    chars = {char for alphabet in ALPHABETS.values() for char in alphabet} - set(ALPHABETS["hangul"])
    rules = {char: unicodedata.normalize("NFKC", char) for char in chars}
    rules |= {unicodedata.normalize("NFD", char): new for char, new in rules.items() if unicodedata.decomposition(char)}
    rules |= {char: " " for char in chars if unicodedata.category(char) in ("Zs", "Zl", "Zp")}
    rules |= dict.fromkeys("\t\n\r", " ") | dict.fromkeys((chr(point) for point in (*range(1, 9), 0x7F)), "")
    return charsmap({old: new for old, new in rules.items() if old != new and "\0" not in old})


def charsmap(rules: dict[str, str]) -> bytes:
    places, replacements, trie = {}, bytearray(), {}
    for new in dict.fromkeys(rules.values()):
        places[new] = len(replacements)
        replacements += new.encode() + b"\0"
    for old, new in rules.items():
        node = trie
        for byte in old.encode():
            node = node.setdefault(byte, {})
        node[0] = places[new]
    units = double_array(trie)
    return struct.pack(f"<{len(units) + 1}I", 4 * len(units), *units) + bytes(replacements)


def double_array(trie: Trie) -> list[int]:
    """https://github.com/s-yata/darts-clone, without offsets beyond 21 bits."""
    units, bases, waiting, first = {0: 0}, set(), [(0, trie)], 1
    while waiting:
        place, node = waiting.pop()
        base = first
        while base in bases or any(base ^ label in units for label in node):
            base += 1
        bases.add(base)
        first = max(first, base - 4096)
        units[place] |= (place ^ base) << 10 | (HAS_LEAF if 0 in node else 0)
        for label, child in node.items():
            units[base ^ label] = child | LEAF if label == 0 else label
        waiting.extend((base ^ label, child) for label, child in node.items() if label)
    return [units.get(place, 0) for place in range((max(units) | 0xFF) + 257)]
