package dev.slmexport.demo.tokenizer

import org.json.JSONObject

/** Splits a text into words; a word may be empty. */
internal typealias PreTokenizer = (AlignedText) -> List<AlignedText>

private val PRE_TOKENIZERS: Map<String, (JSONObject) -> PreTokenizer> = mapOf(
    "BertPreTokenizer" to { _ ->
        inTurn(listOf(splitter("Removed") { it.isSpace() }, splitter("Isolated") { it.isPunctuation() }))
    },
    "Whitespace" to { _ -> { text -> text.split(wordsAndSymbols(text.text)) } },
    "WhitespaceSplit" to { _ -> splitter("Removed") { it.isSpace() } },
    "Punctuation" to { json -> splitter(json.optString("behavior", "Isolated")) { it.isPunctuation() } },
    "Digits" to { json ->
        splitter(if (json.getBoolean("individual_digits")) "Isolated" else "Contiguous") { it.isNumber() }
    },
    "Split" to ::patternSplitter,
    "ByteLevel" to ::byteLevel,
    "Metaspace" to ::metaspace,
    "Sequence" to { json -> inTurn(json.getJSONArray("pretokenizers").objects().map(::preTokenizer)) },
)

private val GPT2 =
    translated("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")

internal fun preTokenizer(json: JSONObject?): PreTokenizer =
    if (json == null) { text -> listOf(text) } else choose("pre-tokenizer", PRE_TOKENIZERS, json)

private fun inTurn(all: List<PreTokenizer>): PreTokenizer = { text ->
    all.fold(listOf(text)) { texts, next -> texts.flatMap(next).filter { it.text.isNotEmpty() } }
}

private fun AlignedText.split(parts: List<Part>): List<AlignedText> = parts.map { slice(it.start, it.end) }

private fun splitter(behavior: String, matches: (Int) -> Boolean): PreTokenizer {
    val behave = behavior(behavior)
    return { text -> text.split(behave(parts(text.text, matches))) }
}

private fun patternSplitter(json: JSONObject): PreTokenizer {
    val pattern = json.pattern()
    val behave = behavior(json.getString("behavior"))
    val inverts = json.getBoolean("invert")
    return { text ->
        val parts = parts(text.text, pattern)
        text.split(behave(if (inverts) inverted(parts) else parts))
    }
}

/** What \w+|[^\w\s]+ matches. */
private fun wordsAndSymbols(text: String): List<Part> {
    val parts = ArrayList<Part>()
    var start = 0
    var at = 0
    var kind = 0
    text.eachCodePoint { point ->
        val next = if (point.isWord()) 2 else if (point.isSpace()) 0 else 1
        if (next != kind) {
            if (kind != 0) parts += Part(start, at, true)
            start = at
            kind = next
        }
        at += Character.charCount(point)
    }
    if (kind != 0) parts += Part(start, at, true)
    return parts
}

private fun byteLevel(json: JSONObject): PreTokenizer {
    val addsSpace = json.getBoolean("add_prefix_space")
    val splits = json.optBoolean("use_regex", true)
    return { text ->
        val whole = if (addsSpace && !text.text.startsWith(" ")) text.prepended(" ") else text
        (if (splits) whole.split(parts(whole.text, GPT2)) else listOf(whole)).map { it.spelledInBytes() }
    }
}

private fun metaspace(json: JSONObject): PreTokenizer {
    val mark = json.getString("replacement")
    val scheme = metaspaceScheme(json)
    val splits = json.optBoolean("split", true)
    val space = Regex.fromLiteral(" ")
    val behave = behavior("MergedWithNext")
    return { raw ->
        val text = raw.replaced(space, mark)
        val prepends = scheme == "always" || scheme == "first" && text.origin == 0
        val marked = if (prepends && !text.text.startsWith(mark)) text.prepended(mark) else text
        if (splits) marked.split(behave(parts(marked.text) { it == mark.codePointAt(0) })) else listOf(marked)
    }
}

/** Where a Metaspace pre-tokenizer or decoder puts a mark that the text did not hold: always, first or never. */
internal fun metaspaceScheme(json: JSONObject): String {
    val scheme = json.optString("prepend_scheme", "always")
    if (scheme !in listOf("always", "first", "never")) refuse("prepend scheme", scheme)
    if (!json.optBoolean("add_prefix_space", true) && scheme != "never") {
        refuse("Metaspace with add_prefix_space false and prepend_scheme", scheme)
    }
    return scheme
}
