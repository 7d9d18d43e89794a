package dev.slmexport.demo.tokenizer

private val PREPENDED = listOf(
    0x600..0x605, 0x6dd..0x6dd, 0x70f..0x70f, 0x890..0x891, 0x8e2..0x8e2, 0xd4e..0xd4e, 0x110bd..0x110bd,
    0x110cd..0x110cd, 0x111c2..0x111c3, 0x1193f..0x1193f, 0x11941..0x11941, 0x11a3a..0x11a3a, 0x11a84..0x11a89,
    0x11d46..0x11d46, 0x11f02..0x11f02,
)
private val EXTENDING = listOf(
    0x200c..0x200d, 0xe33..0xe33, 0xeb3..0xeb3, 0xff9e..0xff9f, 0x1f3fb..0x1f3ff, 0xe0020..0xe007f,
)
private val STANDING_MARKS = listOf(
    0x102b..0x102c, 0x1038..0x1038, 0x1062..0x1064, 0x1067..0x106d, 0x1083..0x1083, 0x1087..0x108c,
    0x108f..0x108f, 0x109a..0x109c, 0x1a61..0x1a61, 0x1a63..0x1a64, 0xaa7b..0xaa7b, 0xaa7d..0xaa7d,
    0x11720..0x11721,
)

private fun Int.extends(): Boolean = isMark() && !isIn(STANDING_MARKS) || isIn(EXTENDING)

private fun Int.breaks(): Boolean = isBreak() && !isIn(EXTENDING) && !isIn(PREPENDED)

/**
 * Where the grapheme cluster that begins at `from` ends, for clusters below 6 bytes of UTF-8
 * (https://www.unicode.org/reports/tr29/). Rules that only join more (Hangul letters, flags, emoji around a joiner)
 * are left out: whoever asks takes such clusters apart again.
 */
internal fun clusterEnd(text: String, from: Int): Int {
    var previous = text.codePointAt(from)
    var end = from + Character.charCount(previous)
    while (end < text.length) {
        val point = text.codePointAt(end)
        val joined = when {
            previous == 0xd -> point == 0xa
            previous.breaks() || point.breaks() -> false
            else -> point.extends() || previous.isIn(PREPENDED)
        }
        if (!joined) break
        previous = point
        end += Character.charCount(point)
    }
    return end
}
