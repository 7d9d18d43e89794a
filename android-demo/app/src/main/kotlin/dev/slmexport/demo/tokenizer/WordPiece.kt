package dev.slmexport.demo.tokenizer

import org.json.JSONObject

/** The longest token that a word begins with, then the longest that the rest begins with, and so on. */
internal class WordPiece(json: JSONObject) : Model {
    override val vocabulary = Vocabulary(json.getJSONObject("vocab").numbers())
    private val unknown = json.getString("unk_token").let { vocabulary[it] ?: refuse("id of", it) }
    private val prefix = json.getString("continuing_subword_prefix")
    private val mostCharacters = json.getInt("max_input_chars_per_word")

    override fun pieces(word: String): List<Piece> {
        val whole = listOf(Piece(unknown, 0, word.length))
        if (word.codePointCount(0, word.length) > mostCharacters) return whole
        val pieces = ArrayList<Piece>()
        var start = 0
        while (start < word.length) {
            val piece = longest(word, start) ?: return whole
            pieces += piece
            start = piece.end
        }
        return pieces
    }

    private fun longest(word: String, start: Int): Piece? {
        val spelled = if (start == 0) word else prefix + word.substring(start)
        val shift = word.length - spelled.length
        for (end in word.length downTo start + 1) {
            vocabulary[spelled.substring(0, end - shift)]?.let { return Piece(it, start, end) }
        }
        return null
    }
}
