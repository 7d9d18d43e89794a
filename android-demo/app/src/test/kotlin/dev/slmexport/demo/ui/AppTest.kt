package dev.slmexport.demo.ui

import android.content.pm.ApplicationInfo
import android.content.pm.PackageManager
import android.graphics.Insets
import android.view.View
import android.view.WindowInsets
import android.widget.RadioButton
import dev.slmexport.demo.R
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

class EmptyApp : App() {
    override val bundled = "none"
}

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = PHONE)
class AppTest {
    @Test fun itAsksForNoPermissionAndKeepsItsDataToItself() {
        val app = RuntimeEnvironment.getApplication()
        val asked = app.packageManager.getPackageInfo(app.packageName, PackageManager.GET_PERMISSIONS).requestedPermissions
        assertEquals(emptyList<String>(), asked.orEmpty().toList())
        assertEquals(0, app.applicationInfo.flags and ApplicationInfo.FLAG_ALLOW_BACKUP)
        assertEquals(0, app.applicationInfo.flags and ApplicationInfo.FLAG_EXTRACT_NATIVE_LIBS)
    }

    @Test @Config(application = EmptyApp::class) fun withoutABundleItSaysHowToPutOneIn() {
        val phone = Phone()
        assertTrue(phone.text(R.id.ask_nothing).startsWith("There is no model in this app yet."))
        assertEquals("title, sentence and tabs", 5, phone.texts().size)
        phone.screenshot("empty")
        phone.view<RadioButton>(R.id.tab_self_test).performClick()
        assertFalse(phone.view<View>(R.id.run).isShown)
    }

    @Test @Config(application = EmptyApp::class, qualifiers = "+night") fun withoutABundleInTheDark() {
        Phone().screenshot("empty-dark")
    }

    @Test fun aboutShowsTheCardWithoutItsFrontMatter() {
        val phone = about()
        val model = phone.asking.pages.first().model
        val shown = phone.texts(R.id.about)
        assertTrue(shown.any { it.startsWith("This app has no permissions") })
        assertTrue(model.card!!.lines().first { it.startsWith("# ") }.removePrefix("# ") in shown)
        assertFalse(shown.any { "pipeline_tag" in it || "---" in it || "**" in it })
        model.bundle.artifacts.forEach { own -> assertTrue(shown.any { own.provenIn in it }) }
        phone.screenshot("about")
        phone.scroll(R.id.about, 1500)
        phone.screenshot("about-scrolled")
    }

    @Test @Config(qualifiers = "+night") fun aboutInTheDark() {
        about().screenshot("about-dark")
    }

    @Test fun aBundleIsCopiedOnceAndWhatIsOfNoUseGoes() {
        val home = File(RuntimeEnvironment.getApplication().filesDir, "bundles")
        File(home, "stale/manifest.json").apply { parentFile!!.mkdirs() }.writeText("{}")
        File(home, "half.part/manifest.json").apply { parentFile!!.mkdirs() }.writeText("{")
        val phone = Phone()
        val copied = home.list()!!.toSet()
        assertTrue(copied.isNotEmpty() && copied.all { it.matches(Regex("[0-9a-f]{64}")) })
        val file = phone.asking.pages.first().model.bundle.manifestFile.apply { setLastModified(1_000_000) }
        installed(phone.app.assets, "slm", home)
        assertEquals(listOf(copied, 1_000_000L), listOf(home.list()!!.toSet(), file.lastModified()))
    }

    @Test fun whatIsToBeReadStaysOffTheBarsAndTheKeyboard() {
        val phone = Phone()
        val (root, tabs) = phone.view<View>(R.id.root) to phone.view<View>(R.id.tabs)
        val bars = WindowInsets.Builder().setInsets(WindowInsets.Type.systemBars(), Insets.of(0, 50, 0, 30))
        root.dispatchApplyWindowInsets(bars.build())
        assertEquals(listOf(50, 0, 30), listOf(root.paddingTop, root.paddingBottom, tabs.paddingBottom))
        assertTrue(tabs.isShown)
        root.dispatchApplyWindowInsets(bars.setInsets(WindowInsets.Type.ime(), Insets.of(0, 0, 0, 600)).build())
        assertEquals(600, root.paddingBottom)
        assertFalse(tabs.isShown)
    }

    @Test fun darkIsDark() {
        val light = pixel()
        RuntimeEnvironment.setQualifiers("+night")
        val dark = pixel()
        assertNotEquals(light, dark)
        assertTrue(android.graphics.Color.luminance(dark) < 0.1 && android.graphics.Color.luminance(light) > 0.8)
    }

    private fun pixel() = Phone().drawn().getPixel(4, 400)

    private fun about(): Phone {
        val phone = Phone()
        phone.view<RadioButton>(R.id.tab_about).performClick()
        phone.idle()
        return phone
    }
}
