package dev.slmexport.demo.ui

import android.view.View
import dev.slmexport.demo.R
import dev.slmexport.demo.task.writes
import java.util.concurrent.CountDownLatch
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = PHONE)
class TalkPanelTest {
    @Test fun anAnswerIsWrittenTokenByToken() {
        val phone = talking()
        val seen = mutableListOf<String>()
        val watching = Watching().apply { of(phone.page.talk) { talk -> talk.lastOrNull()?.let { seen += it.text } } }
        say(phone, "the a my")
        watching.end()
        val said = phone.page.talk.value.last()
        assertTrue("${said.refused}", said.written!!.tokens > 1)
        assertTrue("it grew piece by piece", seen.distinct().size > 2 && seen.zipWithNext().all { (a, b) -> b.startsWith(a) })
        assertTrue(phone.text(R.id.written).isNotEmpty())
        assertTrue(phone.text(R.id.note), phone.text(R.id.note).matches(Regex("""\d+ tokens?, [\d.,]+ tokens/s""")))
        assertEquals("the field is empty again", "", phone.text(R.id.message))
        phone.screenshot("ask-chat")
    }

    @Test @Config(qualifiers = "+night") fun aConversationInTheDark() {
        val phone = talking()
        say(phone, "the a my")
        say(phone, "was here")
        phone.screenshot("ask-chat-dark")
    }

    @Test fun stopEndsTheAnswer() {
        val phone = talking()
        phone.type(R.id.message, "the a my")
        val button = phone.view<View>(R.id.send)
        val pressed = CountDownLatch(1)
        phone.app.worker.run { pressed.await() }  // else a short answer may be there before it is stopped
        button.performClick()
        assertEquals("Stop", button.contentDescription)
        button.performClick()
        pressed.countDown()
        phone.waitFor("the end") { !phone.page.writing }
        val stopped = phone.page.talk.value.last()
        assertTrue(stopped.stopped)
        assertTrue(phone.text(R.id.note), phone.text(R.id.note).startsWith("Stopped."))
        assertEquals("Send", button.contentDescription)
        phone.press(R.id.forget)
        say(phone, "the a my")
        assertTrue(stopped.text.length < phone.page.talk.value.last().text.length)
    }

    @Test fun turningTheDeviceGoesOnWriting() {
        val phone = talking()
        phone.type(R.id.message, "the a my")
        phone.press(R.id.send)
        phone.type(R.id.message, "half a question")
        phone.turn()
        assertEquals("half a question", phone.text(R.id.message))
        phone.waitFor("the end") { !phone.page.writing }
        val said = phone.page.talk.value.last()
        assertFalse(said.stopped)
        assertEquals(said.text.trimStart(), phone.text(R.id.written))
    }

    @Test fun aModelThatCannotBeOpenedSaysSo() {
        val phone = talking()
        phone.freeBytes(0)
        say(phone, "the a my")
        val refused = phone.page.talk.value.last().refused!!
        assertTrue(refused, refused.endsWith("Close other apps and try again."))
        assertEquals(refused, phone.text(R.id.written))
    }

    private fun talking() = Phone().apply { choose("text generation") { it.bundle.writes } }

    private fun say(phone: Phone, text: String) {
        phone.type(R.id.message, text)
        phone.press(R.id.send)
        phone.waitFor("an answer") { !phone.page.writing }
    }
}
