package dev.slmexport.demo

import android.app.Instrumentation
import android.content.Intent
import android.content.pm.PackageManager
import android.os.Bundle as Status
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import dev.slmexport.demo.model.bundlesIn
import dev.slmexport.demo.runtime.freeMemory
import dev.slmexport.demo.selftest.SelfTest
import dev.slmexport.demo.ui.MainActivity
import dev.slmexport.demo.ui.installed
import dev.slmexport.demo.ui.reported
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** What only a device can tell: Android's own linker, this processor's kernels, this much memory. */
@RunWith(AndroidJUnit4::class)
class OnDeviceTest {
    private val instrumentation: Instrumentation = InstrumentationRegistry.getInstrumentation()
    private val context = instrumentation.targetContext

    @Test fun everyArtifactAnswersAsWhereItWasMade() {
        val bundles = bundlesIn(installed(context.assets, "slm", File(context.cacheDir, "tested")))
        assertTrue("put a bundle into models/slm and build again", bundles.isNotEmpty())
        val verdicts = bundles.map { SelfTest(it, freeMemory(context)).run() }
        instrumentation.sendStatus(0, Status().apply { putString("report", context.reported(verdicts).toString()) })
        val failures = verdicts.flatMap { verdict -> verdict.tokenizer + verdict.artifacts.flatMap { it.failures } }
        assertTrue(failures.joinToString("\n"), verdicts.all { it.passed })
    }

    @Test fun theAppAsksForNoPermission() {
        val info = context.packageManager.getPackageInfo(context.packageName, PackageManager.GET_PERMISSIONS)
        assertNull(info.requestedPermissions)
    }

    @Test fun theAppOpens() {
        val intent = Intent(context, MainActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        val activity = instrumentation.startActivitySync(intent)
        instrumentation.waitForIdleSync()
        assertEquals(false, activity.isFinishing)
        activity.finish()
    }
}
