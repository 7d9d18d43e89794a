package dev.slmexport.demo.tokenizer

import org.json.JSONObject

/** A token of a word, which stands for the word's UTF-16 units `start` until `end`. */
internal class Piece(val id: Int, val start: Int, val end: Int)

internal interface Model {
    val vocabulary: Vocabulary

    fun pieces(word: String): List<Piece>
}

internal class Vocabulary(private val ids: Map<String, Int>) {
    private val tokens = arrayOfNulls<String>((ids.values.maxOrNull() ?: -1) + 1)

    init {
        for ((token, id) in ids) tokens[id] = token
    }

    operator fun get(token: String): Int? = ids[token]

    fun token(id: Int): String? = tokens.getOrNull(id)

    /** Ids of the tokens such as <0xE2> for each byte of `text`, if there is one for all. */
    fun bytes(text: String): List<Int>? {
        val bytes = text.toByteArray().toList()
        return bytes.mapNotNull { ids["<0x${HEX[it.toInt() shr 4 and 0xf]}${HEX[it.toInt() and 0xf]}>"] }
            .takeIf { it.size == bytes.size }
    }

    private companion object {
        const val HEX = "0123456789ABCDEF"
    }
}

private val MODELS: Map<String, (JSONObject) -> Model> =
    mapOf("WordPiece" to ::WordPiece, "BPE" to ::BytePairs, "Unigram" to ::Unigram)

internal fun model(json: JSONObject): Model {
    val type = if (json.has("type")) json.type() else untold(json)
    return (MODELS[type] ?: refuse("model", type))(json)
}

/** Files of 2020 do not say what their model is. */
private fun untold(json: JSONObject): String = when {
    json.has("merges") -> "BPE"
    json.has("max_input_chars_per_word") -> "WordPiece"
    json.optJSONArray("vocab") != null -> "Unigram"
    else -> refuse("model with", json.keys().asSequence().joinToString())
}
