package dev.slmexport.demo.ui

import android.content.ClipboardManager
import android.content.Intent
import android.view.View
import android.widget.RadioButton
import dev.slmexport.demo.R
import dev.slmexport.demo.model.objects
import dev.slmexport.demo.selftest.Outcome as Verdict
import dev.slmexport.demo.task.writes
import java.io.File
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = PHONE)
class SelfTestScreenTest {
    @Test fun everyArtifactHasACard() {
        val phone = tested(Phone())
        val verdicts = (phone.app.testing.state.value as Tested).verdicts
        val shown = phone.texts(R.id.verdicts)
        verdicts.flatMap { it.artifacts }.filter { it.artifact.format == "onnx" }.forEach {
            assertEquals("${it.artifact}: ${it.failures}", Verdict.PASS, it.outcome)
            assertTrue("${it.agreeing} of ${it.cases}" in shown)
            assertTrue(it.runtime in shown)
            it.files.forEach { file -> assertTrue("${file.sha256.take(12)}…" in shown) }
        }
        assertEquals(verdicts.sumOf { it.artifacts.size + 1 }, phone.all().count { it.id == R.id.verdict })
        phone.screenshot("self-test-pass")
    }

    @Test fun theVerdictsOfThreeRuntimes() {
        val phone = Phone()
        val page = phone.choose("three formats") { it.bundle.artifacts.size == 3 && !it.bundle.writes }
        phone.app.testing.run({ listOf(page.model.bundle) })
        phone.view<RadioButton>(R.id.tab_self_test).performClick()
        phone.waitFor("the verdicts") { phone.app.testing.state.value is Tested }
        val verdicts = (phone.app.testing.state.value as Tested).verdicts.single().artifacts
        verdicts.forEach { assertEquals("${it.artifact}: ${it.failures}", Verdict.PASS, it.outcome) }
        phone.screenshot("self-test-three-runtimes")
        phone.scroll(R.id.self_test, 900)
        phone.screenshot("self-test-three-runtimes-scrolled")
    }

    @Test @Config(qualifiers = "+night") fun theVerdictsInTheDark() {
        tested(Phone()).screenshot("self-test-dark")
    }

    @Test fun theVerdictsInLargeLetters() {
        RuntimeEnvironment.setFontScale(1.6f)
        tested(Phone()).screenshot("self-test-large")
    }

    @Test fun theReportIsShared() {
        val phone = tested(Phone())
        phone.press(R.id.share)
        val chooser = shadowOf(phone.app).nextStartedActivity
        assertEquals(Intent.ACTION_CHOOSER, chooser.action)
        val sent = chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java)!!
        assertEquals(listOf(Intent.ACTION_SEND, "text/plain"), listOf(sent.action, sent.type))
        val report = JSONObject(sent.getStringExtra(Intent.EXTRA_TEXT)!!)
        assertEquals(1, report.getInt("schema"))
        assertEquals(phone.asking.pages.size, report.getJSONArray("bundles").length())
    }

    @Test fun theHashIsReadOutWholeAndCopied() {
        val phone = tested(Phone())
        val file = (phone.app.testing.state.value as Tested).verdicts.first().artifacts.first().files.first()
        val fact = phone.all().first { it.contentDescription?.endsWith(file.sha256) == true }
        assertTrue(fact.performClick())
        val clipboard = phone.activity.getSystemService(ClipboardManager::class.java)
        assertEquals(file.sha256, clipboard.primaryClip!!.getItemAt(0).text)
    }

    @Test fun turningTheDeviceKeepsTheScreenAndTheVerdicts() {
        val phone = tested(Phone())
        val shown = phone.texts(R.id.verdicts)
        phone.turn()
        assertTrue(phone.view<View>(R.id.self_test).isShown)
        assertEquals(shown, phone.texts(R.id.verdicts))
    }

    @Test fun slmExportFindsTheReportOfTheTestThatItAskedFor() {
        val folder = commanded("run-1")
        val phone = Phone(asking("run-1"))
        phone.waitFor("the report") { File(folder, "report.json").exists() }
        phone.waitFor("the verdicts") { phone.app.testing.state.value is Tested }
        assertTrue(phone.view<View>(R.id.self_test).isShown)
        assertFalse(File(folder, "report.json.part").exists())
        val bundle = JSONObject(File(folder, "report.json").readText()).getJSONArray("bundles").getJSONObject(0)
        val artifact = bundle.getJSONArray("artifacts").objects().first { it.getString("format") == "onnx" }
        assertEquals("pass", artifact.getString("verdict"))
    }

    @Test fun aChangedFileAndAnotherAnswerFail() {
        val folder = commanded("run-2")
        val bundle = File(folder, "slm/one")
        val manifest = JSONObject(File(bundle, "manifest.json").readText()).getJSONArray("artifacts").objects()
        manifest.filter { it.getString("format") != "onnx" }.forEach { File(bundle, it.getString("path")).appendText("x") }
        val golden = JSONObject(File(bundle, "golden.json").readText())
        golden.getJSONArray("samples").getJSONObject(0).put("answer", "another")
        File(bundle, "golden.json").writeText(golden.toString())
        val phone = Phone(asking("run-2"))
        phone.waitFor("the verdicts") { phone.app.testing.state.value is Tested }
        val failures = (phone.app.testing.state.value as Tested).verdicts.flatMap { it.artifacts }.flatMap { it.failures }
        assertEquals(manifest.size - 1, failures.count { it.endsWith("is not the file that the manifest lists.") })
        assertTrue(failures.toString(), failures.any { it.startsWith("The answer differs for") })
        assertTrue(phone.texts(R.id.verdicts).containsAll(failures))
        assertEquals("Not everything answers as it did where it was made.", phone.text(R.id.self_test_intro))
        phone.screenshot("self-test-fail")
    }

    @Test @Config(qualifiers = "+night") fun aFailureInTheDark() {
        File(commanded("run-3"), "slm/one/golden.json").writeText("{}")
        val phone = Phone(asking("run-3"))
        phone.waitFor("the end") { phone.app.testing.state.value is Tested }
        assertTrue("The tokenizer does not load: No value for samples." in phone.texts(R.id.verdicts))
        phone.screenshot("self-test-fail-dark")
    }

    @Test fun aBundleThatCannotBeReadIsASentenceAndAnEmptyReport() {
        val folder = commanded("run-4")
        File(folder, "slm/one/manifest.json").writeText("""{"schema": 2}""")
        val phone = Phone(asking("run-4"))
        phone.waitFor("the end") { phone.app.testing.state.value is NotTested }
        assertTrue(phone.text(R.id.self_test_intro).endsWith("has schema 2; this app reads schema 1."))
        phone.waitFor("the report") { File(folder, "report.json").exists() }
        assertEquals(0, JSONObject(File(folder, "report.json").readText()).getJSONArray("bundles").length())
    }

    @Test fun otherNamesOfRunsAreNotHeeded() {
        val home = RuntimeEnvironment.getApplication().getExternalFilesDir("selftest")
        listOf("../up", "a/b", "", "ä").forEach { assertNull(it, commandedTest(asking(it), home)) }
        assertNull(commandedTest(asking("run").addFlags(Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY), home))
        assertNull(commandedTest(Intent(), home))
    }

    private fun asking(run: String) = Intent().putExtra("selftest", run)

    /** A run's folder with a classifier in it, as adb leaves it. */
    private fun commanded(run: String): File {
        val folder = File((RuntimeEnvironment.getApplication() as App).testFolder(), run)
        val own = Phone().choose("classification") { it.bundle.task == "text-classification" && it.bundle.head == null }.model.bundle
        own.folder.copyRecursively(File(folder, "slm/one"))
        own.tokenizerFile.copyTo(File(folder, "slm/one/tokenizer/tokenizer.json"), overwrite = true)
        return folder
    }

    private fun tested(phone: Phone): Phone {
        phone.view<RadioButton>(R.id.tab_self_test).performClick()
        phone.press(R.id.run)
        phone.waitFor("the verdicts") { phone.app.testing.state.value is Tested }
        return phone
    }
}
