package dev.slmexport.demo.tokenizer

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeNotNull
import org.junit.Test

private const val MOST_SHOWN = 5

/** Against what the Rust library says: tests/android/tokenizer_cases.py writes the folder that slm.tokenizers names. */
class TokenizerTest {
    @Test fun agreesWithTheRustLibrary() {
        val folder = System.getProperty("slm.tokenizers")
        assumeNotNull(folder)
        val files = File(folder!!).listFiles().orEmpty().filter { it.name.endsWith(SUFFIX) }.sorted()
        assertTrue("no tokenizers in $folder", files.isNotEmpty())
        val wrong = files.flatMap { disagreements(it) }
        assertEquals(wrong.take(MOST_SHOWN).joinToString("\n", "${wrong.size} differ:\n"), 0, wrong.size)
    }

    @Test fun refusesByName() {
        for ((change, message) in REFUSED) {
            val json = JSONObject(GPT2_LIKE)
            JSONObject(change).let { parts -> parts.keys().forEach { merge(json, it, parts.get(it)) } }
            val error = assertThrows(change, IllegalArgumentException::class.java) { Tokenizer(json) }
            assertEquals("this app's tokenizer knows no $message", error.message)
        }
    }

    @Test fun streamsWholeCharactersOnly() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        val stream = tokenizer.stream()
        val ids = tokenizer.encode("a💥é!").ids
        assertEquals(listOf("a", "", "", "", "💥", "", "é", "!"), ids.map { stream.push(it) })
        assertEquals("", stream.end())
    }

    @Test fun streamEndsWithWhatWasHeldBack() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        val stream = tokenizer.stream()
        assertEquals(listOf("", ""), tokenizer.encode("💥").ids.take(2).map { stream.push(it) })
        assertEquals("\ufffd", stream.end())
    }

    @Test fun streamLeavesOutSpecialTokens() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        val stream = tokenizer.stream()
        val ids = tokenizer.encode("a<end>b").ids
        assertEquals(listOf("a", "", "b"), ids.map { stream.push(it) })
        assertEquals("a<end>b", tokenizer.decode(ids.toList(), skipSpecialTokens = false))
    }

    @Test fun halvesOfSurrogatePairsAreReplaced() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        assertEquals("a\ufffdb", tokenizer.decode(tokenizer.encode("a\ud83db").ids.toList()))
    }

    @Test fun findsIds() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        assertEquals(256, tokenizer.idOf("<end>"))
        assertEquals('a'.code, tokenizer.idOf("a"))
        assertEquals(null, tokenizer.idOf("abc"))
    }

    @Test fun longWordsTakeNoLongerThanTheirLength() {
        val tokenizer = Tokenizer(JSONObject(GPT2_LIKE))
        assertEquals(200_000, tokenizer.encode("ab".repeat(100_000)).ids.size)
    }

    private fun disagreements(file: File): List<String> {
        val name = file.name.removeSuffix(SUFFIX)
        val tokenizer = Tokenizer(JSONObject(file.readText()))
        val all = JSONObject(File(file.parentFile, "$name.cases.json").readText())
        val texts = all.getJSONArray("cases").all { getJSONObject(it) }
        val words = all.getJSONArray("word_cases").all { getJSONObject(it) }
        assertTrue("few cases for $name", texts.size > 1000 && words.size > 100)
        val wrong = texts.mapNotNull { difference(it, textAnswer(tokenizer, it)) } +
            words.mapNotNull { difference(it, wordAnswer(tokenizer, it)) }
        println("$name: ${texts.size} texts, ${words.size} lists of words, ${wrong.size} differ")
        return wrong.map { "$name: $it" }
    }

    /** Named as the case's fields; null if the tokenizer refuses. */
    private fun textAnswer(tokenizer: Tokenizer, case: JSONObject): Map<String, Any>? {
        val text = case.getString("text")
        val pair = if (case.isNull("pair")) null else case.getString("pair")
        val encoding = encodeOrNull { tokenizer.encode(text, pair) } ?: return null
        val plain = tokenizer.encode(text, pair, specialTokens = false)
        val stream = tokenizer.stream()
        val decoded = tokenizer.decode(encoding.ids.toList())
        assertEquals(decoded, encoding.ids.joinToString("") { stream.push(it) } + stream.end())
        return columns(encoding) + mapOf(
            "plain_ids" to plain.ids.toList(),
            "plain_type_ids" to plain.typeIds.toList(),
            "decoded" to decoded,
            "decoded_whole" to tokenizer.decode(encoding.ids.toList(), skipSpecialTokens = false),
        )
    }

    private fun wordAnswer(tokenizer: Tokenizer, case: JSONObject): Map<String, Any>? =
        encodeOrNull { tokenizer.encodeWords(case.getJSONArray("words").all { getString(it) }) }?.let(::columns)

    private fun encodeOrNull(encode: () -> Encoding): Encoding? = try {
        encode()
    } catch (_: IllegalArgumentException) {
        null
    }

    private fun columns(encoding: Encoding): Map<String, Any> = mapOf(
        "ids" to encoding.ids.toList(),
        "type_ids" to encoding.typeIds.toList(),
        "texts" to encoding.texts.toList(),
        "word_ids" to encoding.words.toList(),
        "offsets" to encoding.spans.map { span -> span?.let { listOf(it.first, it.last + 1) } },
    )

    private fun difference(case: JSONObject, answer: Map<String, Any>?): String? {
        val asked = case.opt("words") ?: (case.getString("text") to case.opt("pair"))
        if (answer == null) return if (case.has("error")) null else "refused: $asked"
        val field = answer.keys.firstOrNull { case.has(it) && plain(case.get(it)) != answer[it] }
            ?: return if (case.has("error")) "not refused: $asked" else null
        return "$field of ${JSONObject.quote(asked.toString())}:\n  ${case.opt(field)}\n  ${answer[field]}"
    }

    private fun plain(value: Any?): Any? = when (value) {
        is JSONArray -> List(value.length()) { plain(value.get(it)) }
        JSONObject.NULL -> null
        else -> value
    }

    private fun merge(json: JSONObject, name: String, value: Any) {
        val inner = json.optJSONObject(name)
        if (inner == null || value !is JSONObject || value.has("type")) json.put(name, value)
        else value.keys().forEach { inner.put(it, value.get(it)) }
    }

    private fun <T> JSONArray.all(read: JSONArray.(Int) -> T): List<T> = List(length()) { read(it) }

    private companion object {
        const val SUFFIX = ".tokenizer.json"

        /** GPT-2's letter for each byte; the id is the byte. */
        val BYTES: Map<Char, Int> = run {
            val printable = ('!'..'~') + ('\u00a1'..'\u00ac') + ('\u00ae'..'\u00ff')
            val others = (0..255).filter { it.toChar() !in printable }
            printable.associateWith { it.code } + others.associateBy { '\u0100' + others.indexOf(it) }
        }

        val GPT2_LIKE = """{
            "model": {"type": "BPE", "merges": [], "vocab": ${JSONObject(BYTES.mapKeys { "${it.key}" })}},
            "added_tokens": [{"id": 256, "content": "<end>", "special": true, "normalized": false,
                              "lstrip": false, "rstrip": false, "single_word": false}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
            "decoder": {"type": "ByteLevel"}
        }"""

        /** What to change in it, and how that is refused. */
        val REFUSED = mapOf(
            """{"model": {"type": "WordLevel"}}""" to "model WordLevel",
            """{"model": {"dropout": 0.1}}""" to "BPE with dropout 0.1",
            """{"model": {"continuing_subword_prefix": "##"}}""" to "BPE with continuing_subword_prefix ##",
            """{"model": {"end_of_word_suffix": "</w>"}}""" to "BPE with end_of_word_suffix </w>",
            """{"normalizer": {"type": "Nmt"}}""" to "normalizer Nmt",
            """{"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}]}}""" to
                "normalizer ByteLevel",
            """{"pre_tokenizer": {"type": "UnicodeScripts"}}""" to "pre-tokenizer UnicodeScripts",
            """{"pre_tokenizer": {"type": "Punctuation", "behavior": "Doubled"}}""" to "split behavior Doubled",
            """{"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "often"}}""" to
                "prepend scheme often",
            split("a\\\\b") to "pattern with \\b in a\\b",
            split("\\\\p{Han}+") to "pattern with \\p{Han} in \\p{Han}+",
            split("^a") to "pattern with ^ in ^a",
            split("(?i)a") to "pattern with (?i) in (?i)a",
            split("[a[b]]") to "pattern with class within a class in [a[b]]",
            split("a*") to "pattern that matches nothing: {\"Regex\":\"a*\"}",
            """{"post_processor": {"type": "Padding"}}""" to "post-processor Padding",
            """{"decoder": {"type": "CTC"}}""" to "decoder CTC",
            """{"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}}""" to
                "decoder ByteFallback after Fuse",
            """{"version": "2.0"}""" to "version 2.0",
            truncation("LongestFirst", "stride" to "3") to "truncation stride 3",
            truncation("Shortest") to "truncation strategy Shortest",
            truncation("OnlyFirst", "direction" to "\"Up\"") to "truncation direction Up",
        )

        fun split(pattern: String) = """{"pre_tokenizer":
            {"type": "Split", "pattern": {"Regex": "$pattern"}, "behavior": "Isolated", "invert": false}}"""

        fun truncation(strategy: String, vararg fields: Pair<String, String>) = fields.joinToString(
            "", """{"truncation": {"max_length": 9, "strategy": "$strategy"""", "}}",
        ) { (name, value) -> """, "$name": $value""" }
    }
}
