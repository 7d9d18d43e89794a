package dev.slmexport.demo.ui

import android.content.Intent
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.bundlesIn
import java.io.File
import org.json.JSONObject

private const val RUN = "selftest"
private val NAME = Regex("[A-Za-z0-9_-]+")

/** A self-test that `slm-export run --executor adb` asks for: it puts bundles into a folder, and waits for the report there. */
class CommandedTest(private val folder: File) {
    fun bundles(): List<Bundle> = bundlesIn(File(folder, "slm"))

    /** Whoever sees report.json sees all of it. */
    fun write(report: JSONObject) {
        folder.mkdirs()
        val aside = File(folder, "report.json.part")
        aside.writeText(report.toString(2))
        check(aside.renameTo(File(folder, "report.json"))) { "The report could not be written to $folder." }
    }
}

/** The test that started the app, if one did; not again where the app is only brought back. */
fun commandedTest(intent: Intent, home: File?): CommandedTest? {
    val run = intent.getStringExtra(RUN)?.takeIf(NAME::matches) ?: return null
    if (intent.flags and Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY != 0) return null
    return CommandedTest(File(home ?: return null, run))
}
