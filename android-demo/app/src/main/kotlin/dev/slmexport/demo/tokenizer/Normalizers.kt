package dev.slmexport.demo.tokenizer

import java.text.Normalizer.Form
import org.json.JSONObject

internal typealias Normalizer = (AlignedText) -> AlignedText

private val NORMALIZERS: Map<String, (JSONObject) -> Normalizer> = mapOf(
    "BertNormalizer" to ::bertNormalizer,
    "NFC" to { _ -> { it.inForm(Form.NFC) } },
    "NFD" to { _ -> { it.inForm(Form.NFD) } },
    "NFKC" to { _ -> { it.inForm(Form.NFKC) } },
    "NFKD" to { _ -> { it.inForm(Form.NFKD) } },
    "Lowercase" to { _ -> ::lowercased },
    "StripAccents" to { _ -> { text -> text.filtered { !it.isMark() } } },
    "Strip" to ::strip,
    "Replace" to ::replace,
    "Prepend" to { json -> json.getString("prepend").let { prefix -> { text -> text.prepended(prefix) } } },
    "Precompiled" to { json -> Charsmap(json.getString("precompiled_charsmap"))::applied },
    "Sequence" to ::sequence,
)

internal fun normalizer(json: JSONObject?): Normalizer =
    if (json == null) { text -> text } else choose("normalizer", NORMALIZERS, json)

private fun sequence(json: JSONObject): Normalizer {
    val all = json.getJSONArray("normalizers").objects().map(::normalizer)
    return { text -> all.fold(text) { changed, next -> next(changed) } }
}

private fun bertNormalizer(json: JSONObject): Normalizer {
    val lowers = json.getBoolean("lowercase")
    val steps = listOf(
        json.getBoolean("clean_text") to ::cleaned,
        json.getBoolean("handle_chinese_chars") to ::spacedIdeographs,
        (if (json.isNull("strip_accents")) lowers else json.getBoolean("strip_accents")) to ::unaccented,
        lowers to ::lowercased,
    ).filter { it.first }.map { it.second }
    return { text -> steps.fold(text) { changed, next -> next(changed) } }
}

private fun cleaned(text: AlignedText): AlignedText =
    text.filtered { it != 0 && it != REPLACEMENT && !it.isControl() }
        .mapped { intArrayOf(if (it.isSpace()) ' '.code else it) }

private fun spacedIdeographs(text: AlignedText): AlignedText =
    text.mapped { if (it.isIdeograph()) intArrayOf(' '.code, it, ' '.code) else intArrayOf(it) }

private fun unaccented(text: AlignedText): AlignedText = text.inForm(Form.NFD).filtered { !it.isNonSpacingMark() }

private fun lowercased(text: AlignedText): AlignedText = text.mapped { it.lowercase() }

private fun strip(json: JSONObject): Normalizer {
    val left = json.getBoolean("strip_left")
    val right = json.getBoolean("strip_right")
    return { text ->
        val from = if (left) text.text.indexOfFirst { !it.code.isSpace() } else 0
        val to = if (right) text.text.indexOfLast { !it.code.isSpace() } + 1 else text.text.length
        if (from in 0..to) text.slice(from, to) else text.slice(0, 0)
    }
}

private fun replace(json: JSONObject): Normalizer {
    val pattern = json.pattern()
    val content = json.getString("content")
    return { text -> text.replaced(pattern, content) }
}
