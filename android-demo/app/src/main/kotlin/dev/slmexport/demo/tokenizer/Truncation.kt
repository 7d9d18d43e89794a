package dev.slmexport.demo.tokenizer

import org.json.JSONObject

private val STRATEGIES = listOf("LongestFirst", "OnlyFirst", "OnlySecond")

/** Cuts a text, or a text and its pair, to a length in tokens. */
internal class Truncation(json: JSONObject) {
    private val length = json.getInt("max_length")
    private val strategy = json.getString("strategy")
    private val keepsEnd = when (val direction = json.optString("direction", "Right")) {
        "Right" -> false
        "Left" -> true
        else -> refuse("truncation direction", direction)
    }

    init {
        if (strategy !in STRATEGIES) refuse("truncation strategy", strategy)
        if (json.optInt("stride") != 0) refuse("truncation stride", json.getInt("stride"))
    }

    fun <T> cut(texts: List<List<T>>, added: Int): List<List<T>> {
        val room = length - added
        require(room >= 0) { "$added special tokens do not fit into a length of $length" }
        val lengths = kept(texts.map { it.size }, room)
        return texts.zip(lengths) { tokens, count -> if (keepsEnd) tokens.takeLast(count) else tokens.take(count) }
    }

    private fun kept(lengths: List<Int>, room: Int): List<Int> {
        val excess = lengths.sum() - room
        return when {
            room == 0 -> lengths.map { 0 }
            excess <= 0 -> lengths
            strategy == "LongestFirst" -> if (lengths.size == 1) listOf(room) else shared(lengths, room)
            else -> shortened(lengths, if (strategy == "OnlyFirst") 0 else 1, excess)
        }
    }

    private fun shared(lengths: List<Int>, room: Int): List<Int> {
        val shorter = minOf(lengths[0], lengths[1])
        val longer = if (shorter > room) shorter else maxOf(shorter, room - shorter)
        val pair = if (shorter + longer > room) listOf(room / 2, room / 2 + room % 2) else listOf(shorter, longer)
        return if (lengths[0] > lengths[1]) pair.asReversed() else pair
    }

    private fun shortened(lengths: List<Int>, which: Int, excess: Int): List<Int> {
        require(which < lengths.size) { "truncation of the second text, but there is only one" }
        require(lengths[which] > excess) { "truncation of one text alone does not reach a length of $length" }
        return lengths.mapIndexed { index, count -> if (index == which) count - excess else count }
    }
}
