package dev.slmexport.demo

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.runtime.FreeMemory
import java.io.File
import org.junit.Assume.assumeTrue

val PLENTY = FreeMemory { Long.MAX_VALUE }

/** The bundles that the tests are given: see README.md. Without any, tests that need one are left out. */
fun testBundles(): List<Bundle> {
    val folders = System.getProperty("slm.bundles").orEmpty()
    assumeTrue("no bundles are given", folders.isNotEmpty())
    return folders.split(File.pathSeparator).map { Bundle(File(it)) }
}

fun testBundle(task: String): Bundle {
    val found = testBundles().find { it.task == task }
    assumeTrue("no bundle for $task is given", found != null)
    return found!!
}

fun Bundle.artifact(format: String): Artifact {
    val found = artifacts.find { it.format == format }
    assumeTrue("$name has no $format artifact", found != null)
    return found!!
}

/** A copy that a test may change. */
fun Bundle.copied(): Bundle {
    val target = File.createTempFile("bundle", "").apply { delete() }
    folder.copyRecursively(target)
    target.deleteOnExit()
    return Bundle(target)
}
