package dev.slmexport.demo.tokenizer

import org.json.JSONArray
import org.json.JSONObject

/** A text as a model takes it, without padding: all lists are of one length. */
class Encoding(
    val ids: IntArray,
    val typeIds: IntArray,
    /** 0 for tokens of the text, 1 for those of its pair, -1 for those that were added. */
    val texts: IntArray,
    /** What each token stands for, in UTF-16 units of its text, of its pair or of its word; null if it was added. */
    val spans: List<IntRange?>,
    /** Which word each token belongs to; -1 if it was added. */
    val words: IntArray,
)

/**
 * Does what a Hugging Face tokenizer.json says, for WordPiece, BPE and Unigram models. Whatever it does not know is
 * refused by name (IllegalArgumentException), never passed over. Padding is left to the caller.
 */
class Tokenizer(json: JSONObject) {
    init {
        if (json.optString("version", "1.0") != "1.0") refuse("version", json.get("version"))
    }

    private val model = model(json.getJSONObject("model"))
    private val normalize = normalizer(json.optJSONObject("normalizer"))
    private val added = AddedTokens(json.optJSONArray("added_tokens") ?: JSONArray(), model.vocabulary, normalize)
    private val split = preTokenizer(json.optJSONObject("pre_tokenizer"))
    private val postProcessor = postProcessor(json.optJSONObject("post_processor"))
    private val truncation = json.optJSONObject("truncation")?.let(::Truncation)
    private val decoder = decoder(json.optJSONObject("decoder"))

    /** Tokens of a text or of a text and its pair, truncated if tokenizer.json says so. */
    fun encode(text: String, pair: String? = null, specialTokens: Boolean = true): Encoding =
        encoding(listOfNotNull(text, pair).mapIndexed { index, one -> tokens(one, index, null) }, specialTokens)

    /** Tokens of a text that is already split into words. */
    fun encodeWords(words: List<String>, specialTokens: Boolean = true): Encoding =
        encoding(listOf(words.flatMapIndexed { index, word -> tokens(word, 0, index) }), specialTokens)

    fun decode(ids: List<Int>, skipSpecialTokens: Boolean = true): String {
        val stream = TextStream(skipSpecialTokens, ::tokenText, added::isSpecial, decoder())
        return ids.joinToString("") { stream.push(it) } + stream.end()
    }

    /** Decodes ids one by one, without special tokens. */
    fun stream(): TextStream = TextStream(true, ::tokenText, added::isSpecial, decoder())

    fun idOf(token: String): Int? = added.id(token) ?: model.vocabulary[token]

    private fun tokenText(id: Int): String? = added.text(id) ?: model.vocabulary.token(id)

    private fun encoding(texts: List<List<Token>>, specialTokens: Boolean): Encoding {
        val room = if (specialTokens) postProcessor.added(texts.size) else 0
        val cut = truncation?.cut(texts, room) ?: texts
        val tokens = postProcessor.apply(cut, specialTokens).flatten()
        return Encoding(
            IntArray(tokens.size) { tokens[it].id },
            IntArray(tokens.size) { tokens[it].type },
            IntArray(tokens.size) { tokens[it].of },
            tokens.map { it.span() },
            IntArray(tokens.size) { tokens[it].word },
        )
    }

    private fun tokens(raw: String, of: Int, word: Int?): List<Token> {
        val text = wellFormed(raw)
        val boundaries = boundaries(text)
        return added.segments(aligned(text)).flatMap(::words).flatMapIndexed { index, segment ->
            pieces(segment).map { piece ->
                val known = if (segment.id == null) model.vocabulary.token(piece.id) else null
                val start = segment.text.starts[piece.start]
                val end = segment.text.ends[piece.end - 1]
                Token(piece.id, known ?: segment.text.text, start, end, of, word ?: index, of, boundaries)
            }
        }
    }

    private fun words(segment: Segment): List<Segment> = if (segment.id != null) {
        listOf(segment)
    } else {
        split(segment.text).filter { it.text.isNotEmpty() }.map { Segment(it, null) }
    }

    private fun pieces(segment: Segment): List<Piece> = segment.text.text.let { text ->
        if (segment.id == null) model.pieces(text) else listOf(Piece(segment.id, 0, text.length))
    }
}

/** Text that comes token by token. */
class TextStream internal constructor(
    private val skipsSpecial: Boolean,
    private val text: (Int) -> String?,
    private val isSpecial: (String) -> Boolean,
    private val decoder: Decoder,
) {
    /** The text that is certain now and was not before: whole characters only, often none. */
    fun push(id: Int): String {
        val token = text(id) ?: return ""
        return if (skipsSpecial && isSpecial(token)) "" else decoder.push(token).joinToString("")
    }

    /** What was held back, once no more ids come. */
    fun end(): String = decoder.end().joinToString("")
}
