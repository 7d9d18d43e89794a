package dev.slmexport.demo.ui

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.ScrollView
import android.widget.Spinner
import android.widget.TextView
import dev.slmexport.demo.R
import java.io.File
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowLooper

const val PHONE = "w411dp-h891dp-port-notnight-xhdpi"
private const val PATIENCE_SECONDS = 120

/** The app on a phone, drawn by Android's own graphics code, over the bundles that the tests are given. */
class Phone(intent: Intent = Intent()) {
    val app = RuntimeEnvironment.getApplication() as App
    private val controller: ActivityController<MainActivity>
    val activity: MainActivity get() = controller.get()

    init {
        freeBytes(8_000_000_000)
        controller = Robolectric.buildActivity(MainActivity::class.java, intent).setup()
        waitFor("the bundles") { app.library.value != Preparing }
    }

    val asking: Asking get() = (app.library.value as Ready).asking
    val page: Page get() = asking.page.value!!

    fun freeBytes(bytes: Long) {
        val manager = app.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager
        shadowOf(manager).setMemoryInfo(ActivityManager.MemoryInfo().apply { availMem = bytes })
    }

    fun turn() {
        controller.recreate()
        idle()
    }

    /** Chooses the first model that fits, as a finger would; without one the test is left out. */
    fun choose(what: String, fits: (Model) -> Boolean): Page {
        val at = asking.pages.indexOfFirst { it.model.refusal == null && fits(it.model) }
        assumeTrue("no bundle for $what is given", at >= 0)
        if (asking.pages[at] !== page) view<Spinner>(R.id.model).setSelection(at)
        waitFor("the model to be chosen") { page === asking.pages[at] }
        idle()
        return page
    }

    fun ask(text: String, second: String? = null): Outcome {
        type(R.id.first, text)
        second?.let { type(R.id.second, it) }
        press(R.id.answer)
        waitFor("an answer") { page.outcome.value !is Working }
        return page.outcome.value
    }

    fun type(field: Int, text: String) = view<EditText>(field).setText(text)

    fun press(button: Int) {
        assertTrue("${name(view(button))} can be pressed", view<View>(button).let { it.isShown && it.isEnabled && it.performClick() })
        idle()
    }

    fun <T : View> view(id: Int): T = activity.findViewById(id)

    fun text(id: Int): String = view<TextView>(id).text.toString()

    /** Every text that can be seen by scrolling. */
    fun texts(below: Int = R.id.root): List<String> = all(view(below)).filterIsInstance<TextView>().map { it.text.toString() }

    /** The views that are shown. */
    fun all(view: View = view(R.id.root)): List<View> = when {
        view.visibility != View.VISIBLE -> emptyList()
        view is ViewGroup -> listOf(view) + (0 until view.childCount).flatMap { all(view.getChildAt(it)) }
        else -> listOf(view)
    }

    fun name(view: View): String = activity.resources.getResourceEntryName(view.id)

    fun waitFor(what: String, done: () -> Boolean) {
        val end = System.nanoTime() + PATIENCE_SECONDS * 1_000_000_000L
        while (!done()) {
            check(System.nanoTime() < end) { "waited in vain for $what" }
            Thread.sleep(5)
            idle()
        }
        idle()
    }

    fun idle() = ShadowLooper.idleMainLooper()

    fun screenshot(name: String) {
        val folder = System.getProperty("slm.screenshots") ?: return
        val file = File(folder, "$name.png").apply { parentFile!!.mkdirs() }
        file.outputStream().use { drawn().compress(Bitmap.CompressFormat.PNG, 100, it) }
    }

    fun drawn(): Bitmap {
        idle()
        val view = activity.window.decorView
        return Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888).also { view.draw(Canvas(it)) }
    }

    fun scroll(id: Int, to: Int) {
        view<ScrollView>(id).scrollTo(0, to)
        idle()
    }
}
