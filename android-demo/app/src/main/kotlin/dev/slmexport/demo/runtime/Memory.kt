package dev.slmexport.demo.runtime

import android.app.ActivityManager
import android.content.Context
import dev.slmexport.demo.model.Artifact
import java.util.Locale

/** What the device has free, beyond the mark where it begins to stop apps. */
fun interface FreeMemory {
    fun bytes(): Long
}

fun freeMemory(context: Context) = FreeMemory {
    val info = ActivityManager.MemoryInfo()
    (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(info)
    info.availMem - info.threshold
}

class TooLittleMemory(message: String) : RuntimeException(message)

/** Refuses before a load what the system would stop the app for. */
fun requireMemory(artifact: Artifact, free: FreeMemory) {
    val bytes = free.bytes()
    if (artifact.memoryBytes > bytes) {
        throw TooLittleMemory(
            "Opening ${artifact.path} takes about ${megabytes(artifact.memoryBytes)}, and this device has " +
                "${megabytes(maxOf(0, bytes))} free. Close other apps and try again.",
        )
    }
}

fun megabytes(bytes: Long): String = String.format(Locale.ROOT, "%.0f MB", bytes / 1e6)
