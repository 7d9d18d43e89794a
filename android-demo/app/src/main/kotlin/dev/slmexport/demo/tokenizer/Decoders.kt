package dev.slmexport.demo.tokenizer

import org.json.JSONObject

/** A step from tokens to text. Takes tokens one by one and gives on what no later token can change. */
internal interface Decoder {
    fun push(token: String): List<String>

    fun end(): List<String> = emptyList()
}

/** By type: what makes a decoder. `joined` says that its tokens are pieces of one text. */
private val DECODERS: Map<String, (JSONObject, Boolean) -> () -> Decoder> = mapOf(
    "WordPiece" to { json, _ -> json.getString("prefix").let { { WordPieceDecoder(it, json.getBoolean("cleanup")) } } },
    "ByteLevel" to { _, _ -> { ByteLevelDecoder() } },
    "Metaspace" to ::metaspace,
    "ByteFallback" to { _, _ -> { ByteFallbackDecoder() } },
    "Fuse" to { _, _ -> { Each { it } } },
    "Strip" to ::strip,
    "Replace" to ::replace,
    "BPEDecoder" to { json, _ -> json.getString("suffix").let { { BpeDecoder(it) } } },
)
private val JOINING = setOf("ByteLevel", "Fuse")
private val AFTER_JOINING = setOf("Fuse", "Strip")

/** What makes a decoder for one text after the other. */
internal fun decoder(json: JSONObject?): () -> Decoder {
    if (json == null) return { SpacedDecoder() }
    var joined: String? = null
    val steps = flat(json).map { step ->
        val type = step.type()
        val make = DECODERS[type] ?: refuse("decoder", type)
        if (joined != null && type !in AFTER_JOINING) refuse("decoder", "$type after $joined")
        make(step, joined != null).also { if (type in JOINING) joined = type }
    }
    return { DecodersInTurn(steps.map { it() }) }
}

private fun flat(json: JSONObject): List<JSONObject> =
    if (json.type() == "Sequence") json.getJSONArray("decoders").objects().flatMap(::flat) else listOf(json)

private class DecodersInTurn(private val steps: List<Decoder>) : Decoder {
    override fun push(token: String) = steps.fold(listOf(token)) { tokens, step -> tokens.flatMap(step::push) }

    override fun end() =
        steps.fold(emptyList<String>()) { tokens, step -> tokens.flatMap(step::push) + step.end() }
}

private class Each(private val change: (String) -> String) : Decoder {
    override fun push(token: String) = listOf(change(token))
}

private class SpacedDecoder : Decoder {
    private var space = ""

    override fun push(token: String) = listOf(space + token).also { space = " " }
}

private val CLEANUP = listOf(
    " ." to ".", " ?" to "?", " !" to "!", " ," to ",", " ' " to "'", " n't" to "n't", " 'm" to "'m",
    " do not" to " don't", " 's" to "'s", " 've" to "'ve", " 're" to "'re",
)

private class WordPieceDecoder(private val prefix: String, private val cleansUp: Boolean) : Decoder {
    private var isFirst = true

    override fun push(token: String): List<String> {
        val text = if (isFirst) token else if (token.startsWith(prefix)) token.removePrefix(prefix) else " $token"
        isFirst = false
        return listOf(if (cleansUp) CLEANUP.fold(text) { clean, (old, new) -> clean.replace(old, new) } else text)
    }
}

private class ByteLevelDecoder : Decoder {
    private val reader = Utf8Reader()

    override fun push(token: String) = listOf(reader.push(spelledBytes(token)))

    override fun end() = listOf(reader.end())
}

/** Bytes in a row are one text, or each of them U+FFFD if they are no UTF-8 together. */
private class ByteFallbackDecoder : Decoder {
    private val bytes = ArrayList<Byte>()

    override fun push(token: String): List<String> {
        val byte = byte(token) ?: return end() + token
        bytes += byte
        return emptyList()
    }

    override fun end(): List<String> {
        val reader = Utf8Reader()
        val text = reader.push(bytes.toByteArray()) + reader.end()
        val valid = text.toByteArray().contentEquals(bytes.toByteArray())
        return (if (valid) listOf(text) else bytes.map { "\ufffd" }).filter { it.isNotEmpty() }.also { bytes.clear() }
    }

    private fun byte(token: String): Byte? =
        if (token.length == 6 && token.startsWith("<0x") && token.endsWith(">")) {
            token.substring(3, 5).toIntOrNull(16)?.toByte()
        } else {
            null
        }
}

private class BpeDecoder(private val suffix: String) : Decoder {
    private var last: String? = null

    override fun push(token: String) = listOfNotNull(last?.replace(suffix, " ")).also { last = token }

    override fun end() = listOfNotNull(last?.replace(suffix, ""))
}

/** Takes up to `start` and `stop` marks off the ends of the one text that all tokens make. */
private class StripDecoder(private val mark: Char, private var start: Int, private val stop: Int) : Decoder {
    private var held = ""

    override fun push(token: String): List<String> {
        val marks = token.takeWhile { it == mark }.length.coerceAtMost(start)
        start = if (marks == token.length) start - marks else 0
        val text = held + token.substring(marks)
        held = text.takeLastWhile { it == mark }.takeLast(stop)
        return listOf(text.substring(0, text.length - held.length))
    }
}

private fun strip(json: JSONObject, joined: Boolean): () -> Decoder {
    val mark = json.getString("content").singleOrNull() ?: refuse("decoder Strip of", json.getString("content"))
    fun make() = StripDecoder(mark, json.getInt("start"), json.getInt("stop"))
    return if (joined) ::make else { { Each { make().push(it).single() } } }
}

private fun replace(json: JSONObject, joined: Boolean): () -> Decoder {
    check(!joined)
    val pattern = json.pattern()
    val content = Regex.escapeReplacement(json.getString("content"))
    return { Each { pattern.replace(it, content) } }
}

private fun metaspace(json: JSONObject, joined: Boolean): () -> Decoder {
    check(!joined)
    val mark = json.getString("replacement")
    val dropsFirst = metaspaceScheme(json) != "never"
    return {
        var isFirst = dropsFirst
        Each { token -> token.replace(mark, if (isFirst) "" else " ").also { isFirst = false } }
    }
}
