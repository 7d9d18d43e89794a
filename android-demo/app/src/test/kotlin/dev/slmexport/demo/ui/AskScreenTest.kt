package dev.slmexport.demo.ui

import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.task.Neighbours
import dev.slmexport.demo.task.Second
import dev.slmexport.demo.task.Tags
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = PHONE)
class AskScreenTest {
    @Test fun aTextGetsTheLabelThatItHadWhereTheBundleWasMade() {
        val phone = Phone()
        val sample = phone.choose("classification", ::classifies).model.bundle.golden.samples.first()
        phone.ask(sample.text)
        val rows = phone.all(phone.view(R.id.reply)).filterIsInstance<TextView>().filter { it.id == R.id.label }
        assertEquals(sample.answer, rows.first().text.toString())
        assertTrue(rows.size <= 5)
        assertTrue("time and runtime are told", phone.texts(R.id.reply).last().contains(Regex("""[\d.]+ ms · \S+""")))
        val described = phone.all(phone.view(R.id.reply)).mapNotNull { it.contentDescription?.toString() }
        assertTrue(described.toString(), described.first().matches(Regex("${sample.answer}, [\\d.]+%, chosen")))
        phone.screenshot("ask-classification")
    }

    @Test @Config(qualifiers = "+night") fun classificationInTheDark() {
        val phone = Phone()
        phone.ask(phone.choose("classification", ::classifies).model.examples.first().text)
        phone.screenshot("ask-classification-dark")
    }

    @Test fun classificationInLargeLetters() {
        RuntimeEnvironment.setFontScale(1.6f)
        val phone = Phone()
        phone.ask(phone.choose("classification", ::classifies).model.examples.first().text)
        phone.screenshot("ask-classification-large")
    }

    @Test fun entitiesAreMarkedInTheText() {
        val phone = Phone()
        val model = phone.choose("tags") { it.bundle.task == "token-classification" }.model
        val text = model.bundle.golden.samples.maxBy { Regex("B-\\w+").findAll(it.answer.toString()).count() }.text
        val reply = (phone.ask(text) as Answered).reply as Tags
        val shown = phone.all(phone.view(R.id.reply)).filterIsInstance<TextView>().first { it.text.toString() == text }
        assertEquals(reply.spans.map { it.range }, marked(shown))
        val legend = phone.all(phone.view(R.id.reply)).mapNotNull { it.contentDescription?.toString() }
        for (span in reply.spans) {
            assertTrue(legend.any { it.startsWith("${span.label}: ") && text.substring(span.range) in it })
        }
        phone.screenshot("ask-tags")
    }

    @Test fun theAnswerIsMarkedInTheContext() {
        val phone = Phone()
        val sample = phone.choose("answers") { it.bundle.task == "question-answering" }.model.bundle.golden.samples.first()
        phone.ask(sample.text, sample.pair)
        val answer = sample.answer as JSONObject
        assertTrue(answer.getString("text") in phone.texts(R.id.reply))
        val context = phone.all(phone.view(R.id.reply)).filterIsInstance<TextView>().first { it.text.toString() == sample.pair }
        assertEquals(listOf(answer.getInt("start") until answer.getInt("end")), marked(context))
        phone.screenshot("ask-answer")
    }

    @Test fun neighboursAreRanked() {
        val phone = Phone()
        phone.choose("embeddings") { it.second == Second.CANDIDATES }
        phone.press(R.id.example)
        phone.press(R.id.answer)
        phone.waitFor("neighbours") { phone.page.outcome.value is Answered }
        val reply = (phone.page.outcome.value as Answered).reply as Neighbours
        assertEquals(reply.scores.map { it.value }.sortedDescending(), reply.scores.map { it.value })
        assertEquals(phone.text(R.id.second).lines().toSet(), reply.scores.map { it.label }.toSet())
        phone.screenshot("ask-neighbours")
    }

    @Test fun otherTasksAnswerTheirExamples() {
        val phone = Phone()
        for (page in phone.asking.pages.filter { it.model.task != null && it.model.examples.isNotEmpty() }) {
            phone.choose(page.name) { it === page.model }
            phone.press(R.id.example)
            phone.press(R.id.answer)
            phone.waitFor("an answer of ${page.name}") { page.outcome.value !is Working }
            phone.screenshot("ask-${page.name}")
            assertTrue("${page.name}: ${(page.outcome.value as? Refused)?.sentence}", page.outcome.value is Answered)
        }
    }

    @Test fun turningTheDeviceKeepsTextAndReplyAndAsksNothingAgain() {
        val phone = Phone()
        phone.choose("classification", ::classifies)
        val answered = phone.ask(phone.page.model.examples.first().text)
        val shown = phone.texts(R.id.reply)
        phone.turn()
        assertEquals(phone.page.model.examples.first().text, phone.text(R.id.first))
        assertTrue("nothing was asked again", answered === phone.page.outcome.value)
        assertEquals(shown, phone.texts(R.id.reply))
    }

    @Test fun whatWasTypedOutlivesTheProcess() {
        val phone = Phone()
        val page = phone.asking.pages.last()
        phone.choose(page.name) { it === page.model }
        page.text = "typed"
        page.talk.value = listOf(Said(own = true, text = "said"))
        val saved = phone.asking.save()
        val again = Asking(phone.asking.pages.map { it.model }, Worker(), OpenArtifact { 0 })
        again.restore(saved)
        val restored = again.page.value!!
        assertEquals(listOf(page.name, "typed", "said"), listOf(restored.name, restored.text, restored.talk.value.single().text))
    }

    @Test fun tooLittleMemoryIsASentence() {
        val phone = Phone()
        phone.choose("classification", ::classifies)
        phone.freeBytes(0)
        val refused = phone.ask("one text") as Refused
        val sentence = Regex("""Opening .* takes about .* MB, and this device has 0 MB free\. Close .*\.""")
        assertTrue(refused.sentence, refused.sentence.matches(sentence))
        assertEquals(listOf(refused.sentence), phone.texts(R.id.reply))
        phone.screenshot("ask-no-memory")
    }

    @Test fun nothingTypedIsASentence() {
        val phone = Phone()
        phone.choose("classification", ::classifies)
        phone.press(R.id.answer)
        assertEquals(listOf("Write a text first."), phone.texts(R.id.reply))
    }

    @Test fun anotherModelHasItsOwnTextAndReply() {
        val phone = Phone()
        val first = phone.choose("classification", ::classifies)
        phone.ask(first.model.examples.first().text)
        phone.choose("a second model") { it !== first.model && it.task != null }
        assertEquals("", phone.text(R.id.first))
        assertFalse(R.id.reply in phone.all().map { it.id })
    }

    private fun marked(view: TextView): List<IntRange> {
        val text = view.text as Spanned
        return text.getSpans(0, text.length, BackgroundColorSpan::class.java)
            .map { text.getSpanStart(it) until text.getSpanEnd(it) }.sortedBy { it.first }
    }

    private fun classifies(model: Model) =
        model.bundle.task == "text-classification" && model.bundle.head == null && model.second == null
}
