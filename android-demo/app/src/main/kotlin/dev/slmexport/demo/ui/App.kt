package dev.slmexport.demo.ui

import android.app.Application
import android.content.Context
import android.os.Build
import android.os.Bundle as Saved
import android.system.Os
import dev.slmexport.demo.model.bundlesIn
import dev.slmexport.demo.runtime.freeMemory
import dev.slmexport.demo.selftest.BundleVerdict
import dev.slmexport.demo.selftest.Device
import dev.slmexport.demo.selftest.report
import dev.slmexport.demo.selftest.sentence
import java.io.File
import org.json.JSONObject

sealed interface Library

data object Preparing : Library

class Ready(val asking: Asking) : Library

class Unreadable(val sentence: String) : Library

/** What outlives the screens: the bundles, the one worker, and what it was asked to do. */
open class App : Application() {
    val worker = Worker()
    private val free by lazy { freeMemory(this) }
    private val open by lazy { OpenArtifact(free) }
    private var begun = false
    val testing by lazy { Testing(worker, open, free) }
    val library = Watched<Library>(Preparing)

    /** Where bundles are among the assets. */
    protected open val bundled = "slm"

    override fun onCreate() {
        super.onCreate()
        Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)
        testFolder()  // adb cannot make it in the app's place
    }

    fun testFolder(): File? = getExternalFilesDir("selftest")

    /** Reads the bundles, once; `saved` is what an earlier process left. */
    fun begin(saved: Saved?) {
        if (begun) return
        begun = true
        worker.run {
            val read = read()
            worker.show {
                if (saved != null && read is Ready) read.asking.restore(saved)
                library.value = read
            }
        }
    }

    private fun read(): Library = try {
        val bundles = bundlesIn(installed(assets, bundled, File(filesDir, "bundles")))
        Ready(Asking(bundles.sortedBy { it.name }.map(::Model), worker, open))
    } catch (error: Exception) {
        Unreadable(sentence(error))
    }
}

fun Context.reported(verdicts: List<BundleVerdict>): JSONObject {
    val version = packageManager.getPackageInfo(packageName, 0).versionName.orEmpty()
    val abi = Build.SUPPORTED_ABIS.firstOrNull().orEmpty()
    return report(version, Device(Build.MANUFACTURER, Build.MODEL, Build.VERSION.RELEASE, Build.VERSION.SDK_INT, abi), verdicts)
}
