package dev.slmexport.demo.task

import dev.slmexport.demo.artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Turn
import dev.slmexport.demo.testBundle
import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test

private const val MOST = 24

/** ExecuTorch's own runner and our steps through ONNX Runtime, on one model. */
class WriterTest {
    private val bundle = testBundle("text-generation")

    /** Of prompts after which the likeliest token always leads by .9 or more: a rounding turns a lead of hundredths. */
    @Test fun everyRuntimeWritesTheSame() {
        val prompts = listOf("the", "the a my", "new and", "very old new and").map { Prompt(it, special = true) } +
            bundle.prompt(listOf(Turn("user", "the a my")))
        for (prompt in prompts) {
            val texts = listOf("onnx", "executorch").map { written(it, prompt).joinToString("") }
            assertEquals(texts[0], texts[1])
            println("${JSONObject.quote(prompt.text)} -> ${JSONObject.quote(texts[0])}")
        }
    }

    @Test fun textComesInPiecesAndNeverMoreThanAsked() {
        for (format in listOf("onnx", "executorch")) {
            val pieces = written(format, prompts().first(), most = 3)
            assertTrue("$pieces", pieces.count { it.isNotEmpty() } in 1..3)
        }
    }

    @Test fun theTokenThatEndsAnAnswerIsNotShown() {
        val ends = bundle.addedTokens(bundle.artifacts.first().rules!!.ends)
        for (format in listOf("onnx", "executorch")) {
            val text = prompts().joinToString("") { written(format, it).joinToString("") }
            assertFalse(text, ends.any { it in text })
        }
    }

    @Test fun writingStopsWhenItIsTold() {
        for (format in listOf("onnx", "executorch")) {
            Writer.open(bundle, bundle.artifact(format)).use { writer ->
                val whole = prompts().maxBy { writer.write(it, MOST) {}.tokens }
                val length = writer.write(whole, MOST) {}.tokens
                var pieces = 0
                val written = writer.write(whole, MOST) { if (++pieces == 2) writer.stop() }
                assertTrue("$format wrote ${written.tokens} of $length", written.tokens in 2..3 && length > 3)
                assertEquals(length, writer.write(whole, MOST) {}.tokens)
            }
        }
    }

    @Test fun aConversationThatIsTooLongIsTold() {
        val words = bundle.golden.samples.joinToString(" ") { it.text }
        val prompt = Prompt(List(bundle.artifacts.first().maxLength) { words }.joinToString(" "), special = true)
        for (format in listOf("onnx", "executorch")) {
            val error = assertThrows(RuntimeException::class.java) { written(format, prompt) }
            assertTrue("${error.message}", "tokens" in error.message!! && error.message!!.startsWith("The conversation"))
        }
    }

    /** As the template itself writes them: host/README says who makes the file. */
    @Test fun aChatIsWrittenAsItsTemplateWritesIt() {
        val file = File(bundle.folder, "../${bundle.name}.chats.json")
        assumeTrue("no chats are given", file.exists())
        val cases = JSONArray(file.readText())
        assertTrue(cases.length() > 0)
        for (number in 0 until cases.length()) {
            val case = cases.getJSONObject(number)
            val turns = case.getJSONArray("turns").let { list ->
                List(list.length()) { list.getJSONObject(it).run { Turn(getString("role"), getString("content")) } }
            }
            assertEquals(case.getString("text"), bundle.prompt(turns).text)
        }
    }

    private fun prompts(): List<Prompt> =
        bundle.golden.samples.take(4).map { Prompt(it.text.take(it.text.length / 2).trim(), special = true) } +
            bundle.prompt(listOf(Turn("user", bundle.golden.samples.last().text)))

    private fun written(format: String, prompt: Prompt, most: Int = MOST): List<String> = buildList {
        Writer.open(bundle, bundle.artifact(format)).use { it.write(prompt, most) { piece -> add(piece) } }
    }
}
