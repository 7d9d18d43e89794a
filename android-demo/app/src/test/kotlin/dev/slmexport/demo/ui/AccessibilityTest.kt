package dev.slmexport.demo.ui

import android.content.Context
import android.graphics.Color
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.RadioButton
import android.widget.Spinner
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.task.writes
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

private val TABS = listOf(R.id.tab_ask, R.id.tab_self_test, R.id.tab_about)
private const val FINGER_DP = 48
private const val AA = 4.5
private val ON = mapOf(
    R.color.text to listOf(
        R.color.background, R.color.surface, R.color.bar, R.color.accent_soft, R.color.error_soft,
        R.color.tag_1, R.color.tag_2, R.color.tag_3, R.color.tag_4, R.color.tag_5, R.color.tag_6,
    ),
    R.color.muted to listOf(R.color.background, R.color.surface, R.color.bar, R.color.line),
    R.color.accent to listOf(R.color.background, R.color.surface, R.color.accent_soft),
    R.color.on_accent to listOf(R.color.accent),
    R.color.error to listOf(R.color.error_soft),
)

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = PHONE)
class AccessibilityTest {
    @Test fun everythingThatCanBePressedHasANameAndRoomForAFinger() = onEveryScreen { phone, screen ->
        val least = FINGER_DP * phone.activity.resources.displayMetrics.density
        for (view in phone.all().filter { it.isClickable }) {
            val name = "$screen: ${if (view.id == View.NO_ID) view.contentDescription else phone.name(view)}"
            assertTrue("$name is ${view.width} x ${view.height}", view.width >= least && view.height >= least)
            assertTrue("$name has no name", named(phone, view))
        }
    }

    @Test fun everyScreenHasAHeadingAndSaysWhatChanges() = onEveryScreen { phone, screen ->
        assertTrue("$screen has no heading", phone.all().any { it.isAccessibilityHeading })
        listOf(R.id.reply, R.id.self_test_intro, R.id.ask_nothing).forEach {
            assertEquals(View.ACCESSIBILITY_LIVE_REGION_POLITE, phone.view<View>(it).accessibilityLiveRegion)
        }
    }

    @Test fun lettersOfTwiceTheSizeAreNotCut() {
        RuntimeEnvironment.setFontScale(2f)
        onEveryScreen { phone, screen ->
            for (view in phone.all().filterIsInstance<TextView>().filter { it.text.isNotEmpty() && it !is EditText }) {
                val layout = view.layout
                val room = view.height - view.compoundPaddingTop - view.compoundPaddingBottom
                assertTrue("$screen: ${view.text} is cut below", layout.height <= room)
                assertTrue("$screen: ${view.text} is cut", (0 until layout.lineCount).all { layout.getEllipsisCount(it) == 0 })
                val widest = (0 until layout.lineCount).maxOf(layout::getLineMax)
                val width = view.width - view.compoundPaddingLeft - view.compoundPaddingRight
                assertTrue("$screen: ${view.text} is cut at the side", widest <= width + 1)
            }
            phone.screenshot("twice-the-size-$screen")
        }
    }

    @Test fun lettersStandOutByDay() = assertReadable(RuntimeEnvironment.getApplication())

    @Test @Config(qualifiers = "+night") fun lettersStandOutByNight() = assertReadable(RuntimeEnvironment.getApplication())

    private fun assertReadable(context: Context) = ON.forEach { (letters, grounds) ->
        grounds.forEach { ground ->
            val (a, b) = listOf(letters, ground).map { Color.luminance(context.getColor(it)) + 0.05 }
            val contrast = maxOf(a, b) / minOf(a, b)
            val (letter, on) = listOf(letters, ground).map(context.resources::getResourceEntryName)
            assertTrue("$letter on $on: $contrast", contrast >= AA)
        }
    }

    /** With an answer, a conversation where there is one, and verdicts. */
    private fun onEveryScreen(check: (Phone, String) -> Unit) {
        val phone = Phone()
        val page = phone.choose("a task") { it.task != null && it.examples.isNotEmpty() }
        phone.press(R.id.example)
        phone.press(R.id.answer)
        phone.waitFor("an answer") { page.outcome.value is Answered }
        phone.waitFor("a test") { tested(phone) }
        for (tab in TABS) {
            phone.view<RadioButton>(tab).performClick()
            phone.idle()
            check(phone, phone.activity.resources.getResourceEntryName(tab))
        }
        if (phone.asking.pages.any { it.model.bundle.writes }) {
            phone.view<RadioButton>(R.id.tab_ask).performClick()
            phone.choose("text generation") { it.bundle.writes }
            check(phone, "talk")
        }
    }

    private fun tested(phone: Phone): Boolean {
        if (phone.app.testing.state.value == Untested) phone.app.testing.run({ listOf(phone.page.model.bundle) })
        return phone.app.testing.state.value is Tested
    }

    private fun named(phone: Phone, view: View): Boolean = when (view) {
        is EditText -> !view.hint.isNullOrEmpty() || phone.all().any { it is TextView && it.labelFor == view.id }
        is Spinner -> !view.selectedView.contentDescription.isNullOrEmpty()
        is Button -> view.text.isNotEmpty()
        is TextView -> view.text.isNotEmpty()
        else -> !view.contentDescription.isNullOrEmpty()
    }
}
