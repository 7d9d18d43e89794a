package dev.slmexport.demo.task

import dev.slmexport.demo.artifact
import dev.slmexport.demo.runtime.Session
import dev.slmexport.demo.testBundle
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

/** What people are shown is what golden.json says the model answers. */
class TaskTest {
    @Test fun aClassifiersFirstScoreIsItsLabel() = asked("text-classification") { sample, reply ->
        val scores = (reply as Scores).scores
        assertEquals(sample.answer, scores.first().label)
        assertEquals(1.0, scores.sumOf { it.value.toDouble() }, 1e-4)
    }

    @Test fun aTaggersSpansAreItsTags() = asked("token-classification") { sample, reply ->
        val tags = (sample.answer as JSONArray).let { list -> List(list.length(), list::getString) }
        val found = (reply as Tags).spans.map { it.label }.toSet()
        assertEquals(tags.filter { it != "O" }.map { it.substringAfter("-") }.toSet(), found)
    }

    @Test fun anAnswerIsWhereTheContextHasIt() = asked("question-answering") { sample, reply ->
        val passage = reply as Passage
        assertEquals((sample.answer as JSONObject).getString("text"), passage.context.substring(passage.range!!))
    }

    @Test fun aTextIsNearestToItself() {
        val bundle = testBundle("feature-extraction")
        Session.open(bundle, bundle.artifact("onnx")).use { session ->
            val texts = bundle.golden.samples.map { it.text }.distinct()
            val reply = taskOf(bundle).ask(session, texts.first(), texts.reversed().joinToString("\n")) as Neighbours
            assertEquals(texts.first(), reply.scores.first().label)
            assertEquals(1.0, reply.scores.first().value.toDouble(), 1e-3)
            assertThrows(IllegalArgumentException::class.java) { taskOf(bundle).ask(session, "a text", " ") }
        }
    }

    @Test fun maskedWordsAreFilled() = asked("fill-mask") { sample, reply ->
        assertEquals(sample.positions!!.size, (reply as Fills).masks.size)
        assertTrue(reply.masks.all { it.first().chosen && it.first().value >= it.last().value })
    }

    @Test fun wordsAreSplitFromWhiteSpaceAndPunctuation() {
        val text = "In  Ulm (Germany), U.S. \"it's\" – 3.5% 東京!"
        val expected = listOf("In", "Ulm", "(", "Germany", ")", ",", "U.S", ".", "\"", "it's", "\"", "–", "3.5", "%", "東京", "!")
        assertEquals(expected, wordsOf(text).map(text::substring))
        assertEquals(emptyList<IntRange>(), wordsOf(" \n"))
    }

    @Test fun neighbouringWordsOfOneEntityAreOneSpan() {
        val words = listOf(0..2, 4..6, 8..9, 11..12, 14..15)
        val spans = spans(words, listOf("B-PER", "I-PER", "B-PER", "O", "I-LOC"))
        assertEquals(listOf(0..6 to "PER", 8..9 to "PER", 14..15 to "LOC"), spans.map { it.range to it.label })
        assertEquals(listOf(0..6 to "PER", 11..12 to "PER"), spans(words.take(4), listOf("PER", "PER", "O", "PER")).map { it.range to it.label })
    }

    private fun asked(task: String, check: (dev.slmexport.demo.model.Sample, Reply) -> Unit) {
        val bundle = testBundle(task)
        Session.open(bundle, bundle.artifact("onnx")).use { session ->
            for (sample in bundle.golden.samples) {
                val text = if (sample.words.isEmpty()) sample.text else sample.words.joinToString(" ")
                check(sample, taskOf(bundle).ask(session, text, sample.pair))
            }
        }
    }
}
