package dev.slmexport.demo.tokenizer

import java.util.concurrent.ConcurrentHashMap
import org.json.JSONArray
import org.json.JSONObject

private const val MOST_CACHED_WORDS = 10_000
private const val LONGEST_CACHED_WORD = 64

/** Byte pair encoding, over letters that stand for bytes or over characters. */
internal class BytePairs(json: JSONObject) : Model {
    init {
        if (json.optDouble("dropout", 0.0) > 0) refuse("BPE with dropout", json.get("dropout"))
        for (name in listOf("continuing_subword_prefix", "end_of_word_suffix")) {
            if (!json.textOrNull(name).isNullOrEmpty()) refuse("BPE with $name", json.get(name))
        }
    }

    override val vocabulary = Vocabulary(json.getJSONObject("vocab").numbers())
    private val merges = merges(json.getJSONArray("merges"), vocabulary)
    private val unknownToken = json.textOrNull("unk_token")
    private val fusesUnknown = json.optBoolean("fuse_unk")
    private val fallsBackToBytes = json.optBoolean("byte_fallback")
    private val ignoresMerges = json.optBoolean("ignore_merges")
    private val cache = ConcurrentHashMap<String, List<Piece>>()

    override fun pieces(word: String): List<Piece> {
        if (ignoresMerges) vocabulary[word]?.let { return listOf(Piece(it, 0, word.length)) }
        cache[word]?.let { return it }
        val pieces = Symbols(symbols(word), merges).merged()
        if (word.length <= LONGEST_CACHED_WORD && cache.size < MOST_CACHED_WORDS) cache[word] = pieces
        return pieces
    }

    /** One piece a character, before any merge. */
    private fun symbols(word: String): List<Piece> {
        val symbols = ArrayList<Piece>(word.length)
        var unknown: Piece? = null
        var at = 0
        word.eachCodePoint { point ->
            val end = at + Character.charCount(point)
            val letter = word.substring(at, end)
            val id = vocabulary[letter]
            val bytes = if (id == null && fallsBackToBytes) vocabulary.bytes(letter) else null
            if (id != null) {
                unknown?.let { symbols += it }
                unknown = null
                symbols += Piece(id, at, end)
            } else if (bytes != null) {
                bytes.forEach { symbols += Piece(it, at, end) }
            } else if (unknownToken != null) {
                val previous = unknown
                if (previous != null && !fusesUnknown) symbols += previous
                unknown = Piece(unknownId(), if (previous != null && fusesUnknown) previous.start else at, end)
            }
            at = end
        }
        unknown?.let { symbols += it }
        return symbols
    }

    private fun unknownId(): Int = unknownToken?.let { vocabulary[it] } ?: refuse("id of", unknownToken)
}

private fun merges(json: JSONArray, vocabulary: Vocabulary): Merges {
    fun id(token: String) = vocabulary[token] ?: refuse("token of a merge:", token)
    val merges = Merges(json.length())
    for (rank in 0 until json.length()) {
        val (left, right) = json.optJSONArray(rank)?.let { it.getString(0) to it.getString(1) }
            ?: json.getString(rank).split(' ').let { it[0] to it[1] }
        merges.add(rank, id(left), id(right), id(left + right))
    }
    return merges
}
