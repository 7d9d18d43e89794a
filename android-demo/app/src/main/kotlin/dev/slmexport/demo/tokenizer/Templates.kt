package dev.slmexport.demo.tokenizer

import org.json.JSONArray
import org.json.JSONObject

/** What is done to the tokens of one or two texts at the end. */
internal interface PostProcessor {
    /** How many tokens it adds to one text or to two. */
    fun added(texts: Int): Int

    fun apply(texts: List<List<Token>>, specialTokens: Boolean): List<List<Token>>
}

private val POST_PROCESSORS: Map<String, (JSONObject) -> PostProcessor> = mapOf(
    "TemplateProcessing" to ::template,
    "BertProcessing" to ::bertTemplate,
    "RobertaProcessing" to ::robertaTemplate,
    "ByteLevel" to ::trim,
    "Sequence" to ::sequence,
)

internal fun postProcessor(json: JSONObject?): PostProcessor =
    if (json == null) InTurn(emptyList()) else choose("post-processor", POST_PROCESSORS, json)

private sealed interface Slot {
    class Text(val index: Int, val type: Int) : Slot
    class Special(val ids: List<Int>, val type: Int) : Slot
}

private class Template(private val single: List<Slot>, private val pair: List<Slot>) : PostProcessor {
    override fun added(texts: Int) = slots(texts).sumOf { if (it is Slot.Special) it.ids.size else 0 }

    override fun apply(texts: List<List<Token>>, specialTokens: Boolean) = slots(texts.size).mapNotNull { slot ->
        when (slot) {
            is Slot.Text -> texts[slot.index].map { it.copy(type = slot.type) }
            is Slot.Special -> if (specialTokens) slot.ids.map { special(it, slot.type) } else null
        }
    }

    private fun slots(texts: Int) = if (texts == 1) single else pair
}

private class InTurn(private val all: List<PostProcessor>) : PostProcessor {
    override fun added(texts: Int) = all.sumOf { it.added(texts) }

    override fun apply(texts: List<List<Token>>, specialTokens: Boolean) =
        all.fold(texts) { changed, next -> next.apply(changed, specialTokens) }
}

/** Takes the spaces around a byte-level token out of its span. */
private class Trim(private val keepsFirstSpace: Boolean) : PostProcessor {
    override fun added(texts: Int) = 0

    override fun apply(texts: List<List<Token>>, specialTokens: Boolean) =
        texts.map { tokens -> tokens.mapIndexed { index, token -> trimmed(token, index == 0 || token.start == 0) } }

    private fun trimmed(token: Token, isFirst: Boolean): Token {
        val spaces = token.text.indexOfFirst { !isSpace(it) }
        val leading = if (spaces < 0) token.text.length else spaces
        val trailing = token.text.length - 1 - token.text.indexOfLast { !isSpace(it) }
        val skipped = if (isFirst && keepsFirstSpace && leading == 1) 0 else leading
        val start = minOf(token.start + skipped, token.end)
        val end = if (token.end < trailing) token.end else maxOf(token.end - trailing, start)
        return token.copy(start = start, end = end)
    }

    private fun isSpace(char: Char) = char == BYTE_LETTERS[' '.code] || char.code.isSpace()
}

private fun sequence(json: JSONObject): PostProcessor {
    val parts = json.getJSONArray("processors").objects()
    val templates = parts.map { it.type() }.filter { it != "ByteLevel" }
    if (templates.size > 1) refuse("post-processor made of", templates.joinToString(" and "))
    return InTurn(parts.map(::postProcessor))
}

private fun trim(json: JSONObject): PostProcessor =
    if (json.getBoolean("trim_offsets")) Trim(json.getBoolean("add_prefix_space")) else InTurn(emptyList())

private fun template(json: JSONObject): PostProcessor {
    val special = json.getJSONObject("special_tokens")
    fun slots(name: String) = json.getJSONArray(name).objects().map { slot(it, special) }
    return Template(slots("single"), slots("pair"))
}

private fun slot(json: JSONObject, special: JSONObject): Slot {
    val text = json.optJSONObject("Sequence")
    if (text != null) return Slot.Text(listOf("A", "B").indexOf(text.getString("id")), text.getInt("type_id"))
    val token = json.getJSONObject("SpecialToken")
    val ids: JSONArray = special.getJSONObject(token.getString("id")).getJSONArray("ids")
    return Slot.Special(ids.items { getInt(it) }, token.getInt("type_id"))
}

private fun bertTemplate(json: JSONObject): PostProcessor {
    val start = Slot.Special(json.idOf("cls"), 0)
    val single = listOf(start, Slot.Text(0, 0), Slot.Special(json.idOf("sep"), 0))
    return Template(single, single + listOf(Slot.Text(1, 1), Slot.Special(json.idOf("sep"), 1)))
}

private fun robertaTemplate(json: JSONObject): PostProcessor {
    val end = Slot.Special(json.idOf("sep"), 0)
    val single = listOf(Slot.Special(json.idOf("cls"), 0), Slot.Text(0, 0), end)
    return InTurn(listOf(trim(json), Template(single, single + listOf(end, Slot.Text(1, 0), end))))
}

/** The id in a field such as ["[SEP]", 102]. */
private fun JSONObject.idOf(name: String): List<Int> = listOf(getJSONArray(name).getInt(1))
