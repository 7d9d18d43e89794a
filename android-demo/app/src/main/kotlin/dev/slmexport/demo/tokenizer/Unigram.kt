package dev.slmexport.demo.tokenizer

import org.json.JSONObject

private const val UNKNOWN_PENALTY = 10.0

/** SentencePiece's unigram model: the most likely way to spell a text, by Viterbi's algorithm. */
internal class Unigram(json: JSONObject) : Model {
    private val scores: DoubleArray
    override val vocabulary: Vocabulary
    private val prefixes: PrefixTable
    private val unknown = if (json.isNull("unk_id")) null else json.getInt("unk_id")
    private val unknownScore: Double
    private val fallsBackToBytes = json.optBoolean("byte_fallback")

    init {
        val entries = json.getJSONArray("vocab")
        scores = DoubleArray(entries.length()) { entries.getJSONArray(it).get(1).toString().let(::score) }
        unknownScore = (scores.minOrNull() ?: 0.0) - UNKNOWN_PENALTY
        val ids = HashMap<String, Int>(2 * scores.size)
        for (id in scores.indices) ids[entries.getJSONArray(id).getString(0)] = id
        vocabulary = Vocabulary(ids)
        prefixes = PrefixTable(ids)
    }

    override fun pieces(word: String): List<Piece> = fused(bestPath(word)).flatMap { known(word, it) }

    private fun bestPath(word: String): List<Piece> {
        val best = arrayOfNulls<Piece>(word.length + 1)
        val sums = DoubleArray(word.length + 1)
        fun offer(id: Int, start: Int, end: Int, score: Double) {
            val sum = score + sums[start]
            if (best[end] != null && sum <= sums[end]) return
            best[end] = Piece(id, start, end)
            sums[end] = sum
        }
        var at = 0
        word.eachCodePoint { point ->
            val next = at + Character.charCount(point)
            var single = false
            prefixes.each(word, at) { id, end ->
                offer(id, at, end, scores[id])
                if (end == next) single = true
            }
            if (!single) offer(unknown ?: refuse("unknown token for", word.substring(at, next)), at, next, unknownScore)
            at = next
        }
        return generateSequence(best[word.length]) { best[it.start] }.toList().asReversed()
    }

    /** Unknown tokens in a row become one. */
    private fun fused(path: List<Piece>): List<Piece> {
        val out = ArrayList<Piece>(path.size)
        for (piece in path) {
            val last = out.lastOrNull()
            if (last != null && last.id == unknown && piece.id == unknown) {
                out[out.size - 1] = Piece(piece.id, last.start, piece.end)
            } else {
                out += piece
            }
        }
        return out
    }

    private fun known(word: String, piece: Piece): List<Piece> {
        if (piece.id != unknown) return listOf(piece)
        val text = word.substring(piece.start, piece.end)
        val ids = vocabulary[text]?.let(::listOf) ?: (if (fallsBackToBytes) vocabulary.bytes(text) else null)
        return ids?.map { Piece(it, piece.start, piece.end) } ?: listOf(piece)
    }
}

private val POWERS_OF_TEN = DoubleArray(23) { "1e$it".toDouble() }

/**
 * A score as serde_json reads it: digits first, then the power of ten, each rounded
 * (https://docs.rs/serde_json, without its feature float_roundtrip). That last bit decides between equal spellings.
 */
private fun score(written: String): Double {
    val digits = written.substringBefore('E').filter { it.isDigit() }
    val power = written.substringAfter('E', "0").toInt() - written.substringBefore('E').substringAfter('.', "").length
    if (digits.length > 18 || power !in -22..22) return written.toDouble()
    val size = digits.toLong().toDouble()
    val value = if (power < 0) size / POWERS_OF_TEN[-power] else size * POWERS_OF_TEN[power]
    return if (written.startsWith("-")) -value else value
}

/** Finds the tokens that a place of a text begins with. */
internal class PrefixTable(tokens: Map<String, Int>) {
    private val sorted = tokens.keys.sorted().toTypedArray()
    private val ids = IntArray(sorted.size) { tokens.getValue(sorted[it]) }

    /** Tells `found` the id and the end of each, the shortest first. */
    inline fun each(text: String, from: Int, found: (Int, Int) -> Unit) {
        var low = 0
        var high = sorted.size
        var at = from
        while (at < text.length && low < high) {
            val depth = at - from
            high = firstFrom(text[at].code + 1, depth, low, high)
            low = firstFrom(text[at].code, depth, low, high)
            at++
            if (low < high && sorted[low].length == depth + 1) found(ids[low], at)
        }
    }

    /** The first of the tokens `low` until `high`, alike up to `depth`, whose unit there is `unit` or a later one. */
    private fun firstFrom(unit: Int, depth: Int, low: Int, high: Int): Int {
        var from = low
        var to = high
        while (from < to) {
            val middle = from + to ushr 1
            val token = sorted[middle]
            if (token.length <= depth || token[depth].code < unit) from = middle + 1 else to = middle
        }
        return from
    }
}
