package dev.slmexport.demo.tokenizer

/** A token that stands for the code points `start` until `end` of text number `of`, which begin at `boundaries`. */
internal data class Token(
    val id: Int,
    val text: String,
    val start: Int,
    val end: Int,
    val type: Int,
    val word: Int,
    val of: Int,
    val boundaries: IntArray?,
) {
    /** The same in UTF-16 units; null for a token that stands for nothing. */
    fun span(): IntRange? = boundaries?.let { it[start] until it[end] }
}

internal fun special(id: Int, type: Int) = Token(id, "", 0, 0, type, -1, -1, null)
