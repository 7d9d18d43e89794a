package dev.slmexport.demo.tokenizer

import org.json.JSONArray
import org.json.JSONObject

/** A part of a text: one added token, or plain text if `id` is null. */
internal class Segment(val text: AlignedText, val id: Int?)

/** The tokens that are found in the text before the model sees it. */
internal class AddedTokens(json: JSONArray, private val vocabulary: Vocabulary, private val normalize: Normalizer) {
    private val tokens = json.objects().filter { it.getString("content").isNotEmpty() }.map(::token)
    private val byContent = tokens.associateBy { it.content }
    private val byId = tokens.associateBy { it.id }
    private val special = tokens.filter { it.special }.mapTo(HashSet()) { it.content }
    private val raw = TokenFinder(byId.values.filter { !it.normalized })
    private val normalized = TokenFinder(byId.values.filter { it.normalized })

    fun id(content: String): Int? = byContent[content]?.id

    /** A token as decoders see it. */
    fun text(id: Int): String? = byId[id]?.pattern

    fun isSpecial(text: String): Boolean = text in special

    /** The text normalized and cut at added tokens, some of which are sought before and some after normalization. */
    fun segments(text: AlignedText): List<Segment> = raw.cut(text).flatMap { segment ->
        if (segment.id == null) normalized.cut(normalize(segment.text)) else listOf(segment)
    }

    private fun token(json: JSONObject): AddedToken {
        val content = json.getString("content")
        val id = json.getInt("id")
        if (vocabulary[content] ?: id != id) refuse("added token with two ids:", content)
        val normalized = json.getBoolean("normalized")
        return AddedToken(
            id, content, if (normalized) normalize(aligned(content)).text else content, normalized,
            special = json.getBoolean("special"), singleWord = json.getBoolean("single_word"),
            takesLeft = json.getBoolean("lstrip"), takesRight = json.getBoolean("rstrip"),
        )
    }
}

internal class AddedToken(
    val id: Int,
    val content: String,
    val pattern: String,
    val normalized: Boolean,
    val special: Boolean,
    val singleWord: Boolean,
    val takesLeft: Boolean,
    val takesRight: Boolean,
)

/** Cuts texts at the leftmost, longest tokens. */
private class TokenFinder(tokens: List<AddedToken>) {
    private val byFirst = tokens.filter { it.pattern.isNotEmpty() }.groupBy { it.pattern[0] }
        .mapValues { (_, alike) -> alike.sortedByDescending { it.pattern.length } }

    fun cut(text: AlignedText): List<Segment> {
        val segments = ArrayList<Segment>()
        var done = 0
        eachMatch(text.text) { token, from, to ->
            val start = if (token.takesLeft) maxOf(spacesBefore(text.text, from), done) else from
            val end = if (token.takesRight) spacesAfter(text.text, to) else to
            if (done < start) segments += Segment(text.slice(done, start), null)
            segments += Segment(text.slice(start, end), token.id)
            done = end
        }
        if (done < text.text.length) segments += Segment(text.slice(done, text.text.length), null)
        return segments
    }

    private inline fun eachMatch(text: String, found: (AddedToken, Int, Int) -> Unit) {
        if (byFirst.isEmpty()) return
        var at = 0
        while (at < text.length) {
            val token = byFirst[text[at]]?.firstOrNull { text.startsWith(it.pattern, at) }
            val end = at + (token?.pattern?.length ?: 1)
            if (token != null && (!token.singleWord || standsAlone(text, at, end))) found(token, at, end)
            at = end
        }
    }

    private fun standsAlone(text: String, start: Int, end: Int): Boolean =
        (start == 0 || !text.codePointBefore(start).isWord()) && (end == text.length || !text.codePointAt(end).isWord())

    private fun spacesBefore(text: String, end: Int): Int {
        var start = end
        while (start > 0 && text[start - 1].code.isSpace()) start--
        return start
    }

    private fun spacesAfter(text: String, start: Int): Int {
        var end = start
        while (end < text.length && text[end].code.isSpace()) end++
        return end
    }
}
