package dev.slmexport.demo.tokenizer

private fun categories(vararg types: Byte): Int = types.fold(0) { all, type -> all or (1 shl type.toInt()) }

private val CONTROLS =
    categories(Character.CONTROL, Character.FORMAT, Character.PRIVATE_USE, Character.SURROGATE)
private val MARKS =
    categories(Character.NON_SPACING_MARK, Character.ENCLOSING_MARK, Character.COMBINING_SPACING_MARK)
private val NUMBERS =
    categories(Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER)
private val PUNCTUATION = categories(
    Character.CONNECTOR_PUNCTUATION, Character.DASH_PUNCTUATION, Character.START_PUNCTUATION,
    Character.END_PUNCTUATION, Character.INITIAL_QUOTE_PUNCTUATION, Character.FINAL_QUOTE_PUNCTUATION,
    Character.OTHER_PUNCTUATION,
)
private val WORD_TYPES = MARKS or categories(Character.DECIMAL_DIGIT_NUMBER, Character.CONNECTOR_PUNCTUATION)
private val BREAKS = categories(
    Character.CONTROL, Character.FORMAT, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR,
)

private val IDEOGRAPHS = listOf(
    0x4e00..0x9fff, 0x3400..0x4dbf, 0x20000..0x2a6df, 0x2a700..0x2b73f, 0x2b740..0x2b81f, 0x2b920..0x2ceaf,
    0xf900..0xfaff, 0x2f800..0x2fa1f,
)

internal const val REPLACEMENT = 0xfffd

private fun Int.isOf(categories: Int): Boolean = categories shr Character.getType(this) and 1 == 1

/** Unicode's White_Space. The platforms' own \s is ASCII on the JVM and something else on Android. */
internal fun Int.isSpace(): Boolean = this in 0x9..0xd || this == 0x20 || this == 0x85 || this == 0xa0 ||
    this == 0x1680 || this in 0x2000..0x200a || this == 0x2028 || this == 0x2029 || this == 0x202f ||
    this == 0x205f || this == 0x3000

internal fun Int.isControl(): Boolean = this != 0x9 && this != 0xa && this != 0xd && isOf(CONTROLS)

internal fun Int.isMark(): Boolean = isOf(MARKS)

internal fun Int.isNonSpacingMark(): Boolean = Character.getType(this) == Character.NON_SPACING_MARK.toInt()

internal fun Int.isNumber(): Boolean = isOf(NUMBERS)

internal fun Int.isPunctuation(): Boolean = this in 0x21..0x2f || this in 0x3a..0x40 || this in 0x5b..0x60 ||
    this in 0x7b..0x7e || isOf(PUNCTUATION)

/** What \w means to Rust's regex crate. */
internal fun Int.isWord(): Boolean =
    Character.isAlphabetic(this) || isOf(WORD_TYPES) || this == 0x200c || this == 0x200d

/** What BERT calls Chinese. */
internal fun Int.isIdeograph(): Boolean = isIn(IDEOGRAPHS)

/** Controls, formats and ends of lines. */
internal fun Int.isBreak(): Boolean = isOf(BREAKS)

internal fun Int.isIn(ranges: List<IntRange>): Boolean = ranges.any { this in it }

/** Lowercase as one or two characters. */
internal fun Int.lowercase(): IntArray =
    if (this == 0x130) intArrayOf('i'.code, 0x307) else intArrayOf(Character.toLowerCase(this))

internal inline fun String.eachCodePoint(action: (Int) -> Unit) {
    var at = 0
    while (at < length) {
        val point = codePointAt(at)
        action(point)
        at += Character.charCount(point)
    }
}
