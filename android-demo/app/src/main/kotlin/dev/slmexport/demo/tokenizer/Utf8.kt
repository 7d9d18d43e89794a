package dev.slmexport.demo.tokenizer

/** GPT-2's printable letter for each byte. */
internal val BYTE_LETTERS: CharArray = run {
    val printable = ('!'..'~') + ('\u00a1'..'\u00ac') + ('\u00ae'..'\u00ff')
    var next = 0x100
    CharArray(256) { if (it.toChar() in printable) it.toChar() else (next++).toChar() }
}

private val LETTER_BYTES = BYTE_LETTERS.withIndex().associate { it.value to it.index.toByte() }

internal fun utf8Length(point: Int): Int = when {
    point < 0x80 -> 1
    point < 0x800 -> 2
    point < 0x10000 -> 3
    else -> 4
}

/** The bytes that a byte-level token spells; those of its own characters if it spells none. */
internal fun spelledBytes(token: String): ByteArray {
    val bytes = ByteArray(token.length)
    token.forEachIndexed { index, letter -> bytes[index] = LETTER_BYTES[letter] ?: return token.toByteArray() }
    return bytes
}

/** Reads UTF-8 as it comes. U+FFFD stands for every longest start of a character that is never finished. */
internal class Utf8Reader {
    private var point = 0
    private var missing = 0
    private var least = 0x80
    private var most = 0xbf

    fun push(bytes: ByteArray): String {
        val out = StringBuilder(bytes.size)
        for (byte in bytes) {
            val value = byte.toInt() and 0xff
            if (missing > 0 && value in least..most) {
                goOn(value, out)
            } else {
                if (missing > 0) out.appendCodePoint(REPLACEMENT)
                begin(value, out)
            }
        }
        return out.toString()
    }

    fun end(): String = if (missing > 0) "\ufffd" else ""

    private fun goOn(value: Int, out: StringBuilder) {
        point = point shl 6 or (value and 0x3f)
        least = 0x80
        most = 0xbf
        if (--missing == 0) out.appendCodePoint(point)
    }

    private fun begin(value: Int, out: StringBuilder) {
        missing = when (value) {
            in 0xc2..0xdf -> 1
            in 0xe0..0xef -> 2
            in 0xf0..0xf4 -> 3
            else -> 0
        }
        point = value and (0x3f shr missing)
        least = if (value == 0xe0) 0xa0 else if (value == 0xf0) 0x90 else 0x80
        most = if (value == 0xed) 0x9f else if (value == 0xf4) 0x8f else 0xbf
        if (missing == 0) out.appendCodePoint(if (value < 0x80) value else REPLACEMENT)
    }
}
