package dev.slmexport.demo.selftest

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.cosine
import dev.slmexport.demo.model.farthest
import dev.slmexport.demo.runtime.FreeMemory
import dev.slmexport.demo.runtime.requireMemory
import java.io.File
import java.security.DigestInputStream
import java.security.MessageDigest
import java.util.Locale

/** Runs a bundle's golden vectors again, here: what comes out must be what came out where the bundle was made. */
class SelfTest(private val bundle: Bundle, private val free: FreeMemory) {
    private val replay by lazy { replayOf(bundle) }

    fun run(onArtifact: (Artifact) -> Unit = {}): BundleVerdict {
        val tokenizer = tokenizerFailures()
        val verdicts = bundle.artifacts.map { artifact ->
            onArtifact(artifact)
            check(artifact)
        }
        return BundleVerdict(bundle, sha256(bundle.manifestFile), tokenizer, verdicts)
    }

    private fun tokenizerFailures(): List<String> = try {
        bundle.golden.samples.filterNot { it.ids.contentEquals(replay.encode(it)) }
            .map { "The tokenizer gives other ids for \"${it.text.take(SHOWN)}\"." }
    } catch (error: Exception) {
        listOf("The tokenizer does not load: ${sentence(error)}")
    }

    fun check(artifact: Artifact): ArtifactVerdict {
        val files = artifact.files.map { LoadedFile(it.path, sha256(bundle.file(it.path)), it.sha256) }
        val changed = files.filter { it.sha256 != it.expected }.map { "${it.path} is not the file that the manifest lists." }
        if (changed.isNotEmpty()) return ArtifactVerdict(artifact, Outcome.FAIL, changed, files)
        return try {
            requireMemory(artifact, free)
            replayed(artifact, files)
        } catch (error: UnsupportedOperationException) {
            ArtifactVerdict(artifact, Outcome.SKIPPED, listOf(sentence(error)), files)
        } catch (error: Throwable) {  // a native library that is not there is an Error: the screen must say so
            ArtifactVerdict(artifact, Outcome.FAIL, listOf(sentence(error)), files)
        }
    }

    private fun replayed(artifact: Artifact, files: List<LoadedFile>): ArtifactVerdict {
        val recorded = bundle.golden.of(artifact) ?: error("golden.json does not have ${artifact.path}.")
        val began = System.nanoTime()
        replay.open(artifact).use { open ->
            val loaded = System.nanoTime()
            val results = bundle.golden.samples.map(open::run)
            val ended = System.nanoTime()
            val pairs = results.zip(recorded.outputs).map { (result, expected) -> result.compared(expected) }
            val cosine = pairs.minOf { (got, expected) -> (0 until got.rows).minOf { cosine(got[it], expected[it]) } }
            val error = pairs.maxOf { (got, expected) -> farthest(got.values, expected.values) }
            val differing = bundle.golden.samples.filterIndexed { at, _ -> !results[at].agrees }
            val failures = buildList {
                if (cosine < recorded.minCosine) add(format("The cosine to the recorded outputs is %.6f, and must be %.6f.", cosine, recorded.minCosine))
                recorded.maxError?.let { if (error > it) add(format("The value is %.6f from the recorded one, and may be %.6f.", error, it)) }
                differing.forEach { sample -> add("The answer differs for \"${sample.text.take(SHOWN)}\".") }
            }
            return ArtifactVerdict(
                artifact, if (failures.isEmpty()) Outcome.PASS else Outcome.FAIL, failures, files, open.runtime,
                cases = results.size, agreeing = results.size - differing.size,
                maxError = error, allowedError = recorded.maxError, minCosine = cosine, allowedCosine = recorded.minCosine,
                loadMillis = (loaded - began) / 1e6, millisPerCase = (ended - loaded) / 1e6 / results.size,
            )
        }
    }
}

internal fun sha256(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    DigestInputStream(file.inputStream().buffered(), digest).use { it.copyTo(Nowhere) }
    return digest.digest().joinToString("") { format("%02x", it) }
}

private object Nowhere : java.io.OutputStream() {
    override fun write(byte: Int) = Unit

    override fun write(bytes: ByteArray, from: Int, length: Int) = Unit
}

/** What went wrong, in the runtime's own words; of an error that says nothing, in those of its cause. */
fun sentence(error: Throwable): String {
    val told = generateSequence(error) { it.cause }.mapNotNull { it.message?.trim() }.firstOrNull { it.isNotEmpty() }
    return (told ?: error.javaClass.simpleName).let { if (it.last() in ".!?") it else "$it." }
}

private fun format(text: String, vararg values: Any) = String.format(Locale.ROOT, text, *values)

private const val SHOWN = 40
